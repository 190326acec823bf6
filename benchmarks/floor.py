"""The floor: what one straight script takes to send a list, with no queue, no ledger and no check of anything.

It reads with Python's own csv, makes the texts by hand, and makes the same request through the same client, so that
what is above it is the price of never texting anyone twice and never forgetting anyone.
"""

import csv
import json
import sys
import time
from itertools import islice
from pathlib import Path

from pydantic import SecretStr

from dispatcher.provider import OutgoingBatch
from dispatcher.providers.winsms import Settings, WinSMS

BATCH = 1000


def main() -> None:
    """`python -m benchmarks.floor LIST URL`: send, and print what it took."""
    path, url = Path(sys.argv[1]), sys.argv[2]
    provider = WinSMS(Settings(base_url=url, api_key=SecretStr("bench"), requests_per_second=None))
    sent, sending = 0, 0.0
    began, cpu = time.perf_counter(), time.process_time()
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        while chunk := list(islice(rows, BATCH)):
            batch = OutgoingBatch(
                reference="floor",
                numbers=[int(phone.lstrip("+")) for phone, *_ in chunk],
                references=[phone for phone, *_ in chunk],
                segments=[1] * len(chunk),
                texts=[f"Hi {name}, parcel {code} is at {town or 'the depot'}" for _, name, town, code in chunk],
            )
            before = time.perf_counter()
            answers = provider.submit(batch)
            sending += time.perf_counter() - before
            sent += sum(theirs is not None for theirs in answers.provider_message_ids)
    seconds = time.perf_counter() - began
    print(json.dumps({"sent": sent, "seconds": seconds, "sending": sending, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
