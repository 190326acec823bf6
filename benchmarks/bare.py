"""The dispatcher's own HTTP client in a bare loop: nothing before or after a NetSapiens request but the next one."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dispatcher.transport import Transport

_PATH = "/domains/~/users/~/messagesessions/{:032x}/messages"
_BODY = (
    b'{"type":"sms","message":"Hi Ann, parcel P00017 is at Cape Town","destination":"%d","from-number":"12025550100"}'
)


def main() -> None:
    """`python -m benchmarks.bare URL THREADS MESSAGES`: send, and print what it took."""
    url, threads, messages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    transport = Transport(base_url=url + "/ns-api/v2", timeout=30, headers={"Authorization": "Bearer nsa-bench"})

    def send(first: int) -> int:
        numbers = range(first, messages, threads)
        for at in numbers:
            transport.submit("POST", _PATH.format(at), body=_BODY % (27_600_000_000 + at)).json(dict)
        return len(numbers)

    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        sent = sum(pool.map(send, range(threads)))
    print(json.dumps({"sent": sent, "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
