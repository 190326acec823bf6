"""A WinSMS that gives one recorded answer to whatever it is asked."""

import json
from collections.abc import Callable
from typing import Any

from dispatcher.providers.winsms import Settings, WinSMS, connect
from dispatcher.throughput import LocalTokens
from tests.misbehaving import Server, answer


class Vendor:
    """Answers every request with one recorded answer, and knows what it was asked."""

    def __init__(self, content: object) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.server = Server(answer(200, body, "Content-Type: application/json"))

    def ask(self, question: Callable[[WinSMS], Any]) -> Any:
        with self.server:
            provider = connect(Settings(base_url=self.server.url, api_key="the-key", timeout=5), LocalTokens())
            try:
                return question(provider)
            finally:
                provider._transport.close()

    def asked(self) -> tuple[str, bytes]:
        head, _, body = self.server.requests[0].partition(b"\r\n\r\n")
        assert len(self.server.requests) == 1
        assert b"AUTHORIZATION: the-key\r\n" in head + b"\r\n"
        return head.decode().partition(" HTTP/1.1")[0], body
