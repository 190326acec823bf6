"""The usual design: one Celery task a recipient, which checks the number, makes one request and commits one row."""

import json
import os
import threading
from typing import Any

import phonenumbers
import psycopg
import requests
from celery import Celery

from benchmarks.usual_rows import connect

SETTINGS: dict[str, str] = json.loads(os.environ.get("BENCH_USUAL", "{}"))
app = Celery("usual", broker=SETTINGS.get("broker"))
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
_own = threading.local()


@app.task(name="send_one")
def send_one(row: int) -> None:
    """Send to one recipient and write down what came of it."""
    if not hasattr(_own, "database"):
        _own.database, _own.session = connect(SETTINGS["ledger"]), requests.Session()
    database: Any = _own.database
    mark = "%s" if isinstance(database, psycopg.Connection) else "?"
    found = database.execute(f"SELECT phone, name, town, code FROM person WHERE id = {mark}", (row,)).fetchone()
    phone, name, town, code = found
    number = phonenumbers.parse(phone, "ZA")
    if not phonenumbers.is_valid_number(number):
        state, theirs = "invalid", None
    else:
        digits = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).lstrip("+")
        content = {
            "message": f"Hi {name}, parcel {code} is at {town or 'the depot'}",
            "recipients": [{"mobileNumber": digits, "clientMessageId": "0"}],
        }
        answer = _own.session.post(
            SETTINGS["url"] + "/sms/outgoing/send", json=content, headers={"AUTHORIZATION": "bench"}, timeout=30
        )
        answer.raise_for_status()
        [told] = answer.json()["recipients"]
        state, theirs = ("submitted" if told["accepted"] else "refused"), str(told["apiMessageId"])
    database.execute(f"UPDATE person SET state = {mark}, theirs = {mark} WHERE id = {mark}", (state, theirs, row))
    database.commit()
