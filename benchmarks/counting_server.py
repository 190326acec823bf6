"""A provider that costs next to nothing: answers like WinSMS and NetSapiens, and counts whom it was asked to text.

It shares the machine with what is measured, so it does as little as an honest answer takes: one process, raw asyncio,
msgspec, nothing kept but counts and the instants of requests.
"""

import argparse
import asyncio
import gc
import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

R = TypeVar("R")

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_TAIL = b',"statusCode":200,"timeStamp":"20261201090000000","version":"1.0"}'
_BASE = b"@@@@@@@@@"
_DELIVERED = b'"creditCost":1,"statusDelivered":true,"statusErrorCode":"0","statusTime":"202612010900"}'


class _Recipient(Struct, rename="camel", gc=False):
    mobile_number: str
    client_message_id: str


class _Someone(Struct, gc=False):
    """A recipient that is only counted."""


class _Message(Struct, Generic[R], gc=False):
    recipients: list[R]


class _Messages(Struct, Generic[R], gc=False):
    messages: list[_Message[R]]


class _Sms(Struct):
    destination: str


class Told(Struct, kw_only=True):
    """What the server counted since it was last reset."""

    requests: int = 0  # that send
    recipients: int = 0
    distinct: int = 0  # numbers, where it was asked to keep them
    polls: int = 0
    polled: int = 0  # ids
    logins: int = 0
    first: float = 0.0  # instants of the machine's monotonic clock, of requests that send
    last: float = 0.0
    cpu: float = 0.0  # seconds of this process, ever


class Counter:
    """What was asked for, and the answers."""

    def __init__(self, *, distinct: bool) -> None:
        self.told = Told()
        self.arrivals: list[float] = []
        self._numbers: set[bytes] | None = set() if distinct else None
        self._base = 100_000_000
        self._encode = msgspec.json.Encoder().encode
        one: Any = _Recipient if distinct else _Someone
        self._send = msgspec.json.Decoder(_Message[one]).decode
        self._send_many = msgspec.json.Decoder(_Messages[one]).decode
        self._ids = msgspec.json.Decoder(list[int]).decode
        self._sms = msgspec.json.Decoder(_Sms).decode
        self.routes: dict[bytes, Callable[[bytes], tuple[int, bytes]]] = {
            b"/sms/outgoing/send": self.send,
            b"/sms/outgoing/sendmulti": self.send_many,
            b"/sms/outgoing/status": self.status,
            b"/credits/balance": lambda _: (200, b'{"creditBalance":1000000' + _TAIL),
            b"/sms/scheduled": lambda _: (200, b'{"scheduledMessages":[],"resultsTotalAvailable":0' + _TAIL),
            b"/ns-api/v2/tokens": self.login,
            b"/bench/told": self.tell,
            b"/bench/arrivals": lambda _: (200, self._encode(self.arrivals)),
            b"/bench/reset": self.reset,
        }

    def answer(self, path: bytes, body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        route = self.routes.get(path)
        if route is not None:
            return route(body)
        return self.sms(body) if path.endswith(b"/messages") else (404, b"{}")

    def send(self, body: bytes) -> tuple[int, bytes]:
        """WinSMS: one text to up to a thousand."""
        many = self._accept([self._send(body)])
        return 200, _answer(many, several=False).replace(_BASE, b"%09d" % self._next_base())

    def send_many(self, body: bytes) -> tuple[int, bytes]:
        """WinSMS: a text each."""
        many = self._accept(self._send_many(body).messages)
        return 200, _answer(many, several=True).replace(_BASE, b"%09d" % self._next_base())

    def status(self, body: bytes) -> tuple[int, bytes]:
        """WinSMS: everybody that is asked for has had the message."""
        many = len(self._ids(body))
        self.told.polls += 1
        self.told.polled += many
        rows = body.strip()[1:-1].replace(b",", b"," + _DELIVERED + b',{"apiMessageId":')
        # Each id ends where the next row begins: the row's other fields go in between.
        return 200, b'{"messageStatuses":[{"apiMessageId":' + rows + b"," + _DELIVERED + b"]" + _TAIL

    def sms(self, body: bytes) -> tuple[int, bytes]:
        """NetSapiens: one message of a session."""
        number = self._sms(body).destination
        if self._numbers is not None:
            self._numbers.add(number.encode())
        self._count(1)
        return 202, b'{"code":202,"message":"Accepted"}'

    def login(self, _: bytes) -> tuple[int, bytes]:
        """NetSapiens: anybody is let in, for an hour."""
        self.told.logins += 1
        token = b"nsa-%08d" % self.told.logins
        return 200, b'{"access_token":"%b","refresh_token":"nsr-1","expires_in":3600,"token_type":"Bearer"}' % token

    def tell(self, _: bytes) -> tuple[int, bytes]:
        """Return the counts."""
        self.told.cpu = time.process_time()
        self.told.distinct = len(self._numbers or ())
        return 200, self._encode(self.told)

    def reset(self, _: bytes) -> tuple[int, bytes]:
        """Begin to count anew."""
        self.told = Told()
        self.arrivals.clear()
        if self._numbers is not None:
            self._numbers.clear()
        return 200, b"{}"

    def _accept(self, messages: Sequence[_Message[Any]]) -> int:
        if self._numbers is None:
            many = sum([len(message.recipients) for message in messages])
        else:
            recipients = [one for message in messages for one in message.recipients]
            many = len(recipients)
            if [one.client_message_id for one in recipients] != list(map(str, range(many))):
                raise msgspec.ValidationError("the answers are made for ids that count from 0")
            self._numbers.update(one.mobile_number.encode() for one in recipients)
        self._count(many)
        return many

    def _next_base(self) -> int:
        self._base += 1
        return self._base

    def _count(self, recipients: int) -> None:
        now, told = time.monotonic(), self.told
        told.requests += 1
        told.recipients += recipients
        told.first = told.first or now
        told.last = now
        self.arrivals.append(now)


@lru_cache(maxsize=16)
def _answer(many: int, *, several: bool) -> bytes:
    """Return the answer that accepts so many, as large as a real one; only the ids are still to be filled in.

    Its rows follow the recipients by the ids that clients give them, which count from 0 in each request.
    """
    rows = [
        b'{"acceptError":"","accepted":true,"apiMessageId":%b%03d,"clientMessageId":"%d","creditCost":1,'
        b'"mobileNumber":"27600000000","newCreditBalance":1000000,"scheduledTime":null}' % (_BASE, at, at)
        for at in range(many)
    ]
    if not several:
        return b'{"recipients":[' + b",".join(rows) + b"]" + _TAIL
    text = b'{"message":"' + b"x" * 45 + b'","recipients":['
    return b'{"messages":[' + b",".join(text + row + b"]}" for row in rows) + b"]" + _TAIL


class _Connection(asyncio.Protocol):
    def __init__(self, counter: Counter, latency: float) -> None:
        self._counter = counter
        self._latency = latency
        self._buffer = bytearray()
        self._needed = 0  # bytes of the request under way; 0 while its head is not all there
        self._body = 0  # where its body begins
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while True:
            if not self._needed:
                end = buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                found = _LENGTH.search(buffer, 0, end)
                self._body = end + 4
                self._needed = self._body + (int(found[1]) if found else 0)
            if len(buffer) < self._needed:
                return
            path = bytes(buffer[: self._body]).split(b" ", 2)[1].partition(b"?")[0]
            body = bytes(buffer[self._body : self._needed])
            del buffer[: self._needed]
            self._needed = 0
            self._reply(path, body)

    def _reply(self, path: bytes, body: bytes) -> None:
        try:
            status, content = self._counter.answer(path, body)
        except msgspec.MsgspecError:
            status, content = 400, b'{"errorMessage":"Invalid JSON payload received"}'
        head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
            status,
            len(content),
        )
        assert self._transport is not None
        if self._latency and not path.startswith(b"/bench/"):
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, head + content)
        else:
            self._transport.write(head + content)


async def _serve(*, latency: float, distinct: bool) -> None:
    counter = Counter(distinct=distinct)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(counter, latency), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    gc.freeze()
    gc.disable()  # nothing here is cyclic
    # It ends with whoever started it: their end of standard input closes.
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve on a free port, whose number is the first line of the output, until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes")
    parser.add_argument("--distinct", action="store_true", help="keep the numbers, to tell how many there were")
    given = parser.parse_args()
    asyncio.run(_serve(latency=given.latency, distinct=given.distinct))


if __name__ == "__main__":
    main()
