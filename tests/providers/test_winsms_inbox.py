"""WinSMS: replies and opt-outs, by recorded answers and by the sandbox."""

import pytest
import requests

from dispatcher.errors import Unreachable
from dispatcher.provider import KnowsOptOuts, ReceivesMessages
from dispatcher.sandbox import Sandbox
from tests.providers.rows import connect
from tests.providers.vendor import Vendor

REPLY = (
    b'{"incomingMessages":[{"incomingApiMessageId":58324,"messageText":"Thanks","mobileNumber":"12025550100",'
    b'"outgoingApiMessageId":2316,"receiveTime":"201707252208"},null,{"mobileNumber":""}],'
    b'"resultsTotalAvailable":3402,"statusCode":200}'
)


def test_replies_are_read_page_by_page(sandbox: Sandbox) -> None:
    provider = connect("winsms", sandbox)
    assert isinstance(provider, ReceivesMessages)
    for at in range(3):
        body = {"number": f"1202555010{at}", "text": f"reply {at}", "provider": "winsms"}
        requests.post(f"{sandbox.url}/sandbox/incoming", json=body, timeout=5).raise_for_status()
    found = provider.incoming()
    assert [(message.number, message.text) for message in found.messages] == [
        (12025550100 + at, f"reply {at}") for at in range(3)
    ]
    assert found.next_page is None


def test_opt_outs_are_listed(sandbox: Sandbox) -> None:
    provider = connect("winsms", sandbox)
    assert isinstance(provider, KnowsOptOuts)
    requests.post(f"{sandbox.url}/sandbox/optouts", json={"numbers": ["12025550107"]}, timeout=5).raise_for_status()
    found = provider.opt_outs()
    assert 12025550107 in {opt_out.number for opt_out in found.opt_outs}
    assert {opt_out.reason for opt_out in found.opt_outs} == {"opted out"}


def test_the_vendors_own_answers_are_read_leniently() -> None:
    vendor = Vendor(REPLY)
    page = vendor.ask(lambda provider: provider.incoming("3400"))
    assert vendor.asked() == ("GET /sms/incoming?offset=3400&limit=1000", b"")
    [message] = page.messages
    assert (message.number, message.text, message.answers_to) == (12025550100, "Thanks", "2316")
    assert message.at is not None
    assert page.next_page is None
    gone = {"incomingOptoutMessages": [{"mobileNumber": 12025550101, "messageText": "* MANUALLY ADDED BY USER *"}]}
    assert [one.number for one in Vendor(gone).ask(lambda provider: provider.opt_outs()).opt_outs] == [12025550101]


@pytest.mark.parametrize("content", [b"<html>", {}, {"incomingMessages": "none"}])
def test_what_cannot_be_read_is_not_taken_for_nothing(content: object) -> None:
    for question in ("incoming", "opt_outs"):
        with pytest.raises(Unreachable):
            Vendor(content).ask(lambda provider, question=question: getattr(provider, question)())
