"""Arbitrary arguments, lists and texts given to every command: 0, 1 or 2, never a traceback, nothing half planned."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dispatcher import cli
from dispatcher.cli import watching
from dispatcher.ledger import Ledger, open_ledger
from tests.misbehaving import Server, answer

EXAMPLES = int(os.environ.get("DISPATCHER_TEST_EXAMPLES", "0"))
HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x9b2J",
    "\udcff",
    "a\x01b",  # no process is ever given a NUL
    "=1+1",
    "🎉",
    "\u202egnp",
    "",
    "-",
    "--",
    "@",
    "²",
    "9" * 5000,
]
GOOD = b"phone,first_name\n+12025550100,Ann\n+12025550101,Bob\n"


def some(examples: int) -> Any:
    return settings(
        derandomize=not EXAMPLES,
        max_examples=EXAMPLES or examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


class Done(NamedTuple):
    code: int
    out: str
    err: str


def run(*args: str, stdin: bytes = b"") -> Done:
    """Run the command in this process, as `dispatcher` would, with streams of its own."""
    with pytest.MonkeyPatch.context() as patch, CliRunner().isolation(input=stdin) as (out, err, _):
        patch.setattr("sys.argv", ["dispatcher", *args])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Done(
            int(end.value.code or 0), out.getvalue().decode(errors="replace"), err.getvalue().decode(errors="replace")
        )


def assert_decent(done: Done) -> None:
    assert done.code in (0, 1, 2), done.err
    assert "Traceback" not in done.err
    if done.code:
        assert done.err.strip() or done.out.strip(), "it failed and does not say why"
    for stream in (done.out, done.err):
        assert not {sign for sign in stream if ord(sign) < 32 or 127 <= ord(sign) < 160} - set("\n\r"), repr(stream)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder, and providers that answer {} to everything."""
    folder = tmp_path_factory.mktemp("fuzz")
    with (
        pytest.MonkeyPatch.context() as patch,
        Server(answer(200, b"{}", "Content-Type: application/json")) as server,
    ):
        for name in [
            name for name in os.environ if name.startswith("DISPATCHER_") and name != "DISPATCHER_TEST_EXAMPLES"
        ]:
            patch.delenv(name)
        patch.chdir(folder)
        patch.setenv("DISPATCHER_HOME", str(folder / "home"))
        for name, credentials in {
            "WINSMS": ["API_KEY"],
            "BSG": ["API_KEY", "SENDER"],
            "SAKARI": ["CLIENT_ID", "CLIENT_SECRET", "ACCOUNT_ID"],
            "NETSAPIENS": ["CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD", "FROM_NUMBER"],
        }.items():
            patch.setenv(f"DISPATCHER_{name}__BASE_URL", server.url)
            patch.setenv(f"DISPATCHER_{name}__TIMEOUT", "2")
            for credential in credentials:
                patch.setenv(f"DISPATCHER_{name}__{credential}", "12025550100")
        # What runs until it is stopped is only parsed.
        for command in ("up", "sandbox", "demo"):
            patch.setattr(cli.cli.get_command(click.Context(cli.cli), command), "callback", lambda **_: None)
        patch.setattr(watching, "_ended", lambda _: True)
        patch.setattr("dispatcher.cli.accounts.take_lookup", lambda *_, **__: None)
        patch.setattr("dispatcher.cli.resources.take_lookup", lambda *_, **__: None)
        (folder / "people.csv").write_bytes(GOOD)
        yield folder


@pytest.fixture(scope="module")
def ledger(home: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{home / 'home' / 'ledger.db'}")
    yield opened
    opened.close()


def rows(ledger: Ledger) -> dict[str, int]:
    with ledger.database.read() as tx:
        return {
            table: tx.rows(f"SELECT COUNT(*) AS many FROM {table}")[0].many
            for table in ("campaign", "batch", "message", "payload", "excluded_row", "counter")
        }


# --- Lists and texts --------------------------------------------------------------------------------------------------

CELL = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["+12025550100", "202 555 0101", "n/a", '"', '""', '"a,b"', "\r", "=1+1", " ", "1e9", "+" * 9]),
)
LINES = st.lists(st.lists(CELL, max_size=4), max_size=6).map(
    lambda lines: "\n".join(",".join(cells) for cells in lines).encode("utf-8", "surrogatepass")
)
LISTS = st.one_of(
    st.binary(max_size=200),
    LINES,
    LINES.map(lambda body: b"phone,first_name\n" + body),
    st.binary(max_size=60).map(lambda tail: GOOD + tail),
    st.tuples(st.integers(0, len(GOOD)), st.binary(min_size=1, max_size=2)).map(
        lambda cut: GOOD[: cut[0]] + cut[1] + GOOD[cut[0] :]
    ),
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from(["{", "}", "{{", "first_name", "|", "phone", "Hi", " ", "\n", "🎉"]), max_size=6).map(
        "".join
    ),
    st.sampled_from(["Hi {first_name}", "Hi {first_name|you}", "Hi"]),
)


@some(120)
@given(
    people=LISTS,
    text=TEXTS,
    column=st.sampled_from(["phone", "phone", "phone", "first_name", "PHONE ", "", "x"]) | st.text(max_size=5),
    provider=st.sampled_from(["winsms", "bsg", "sakari", "netsapiens"]),
    way=st.sampled_from(["file", "stdin", "dry"]),
)
@example(people=GOOD, text="Hi", column="phone", provider="winsms", way="file")
@example(people=GOOD, text="\ud800", column="phone", provider="winsms", way="file")
@example(people=b"phone\n\x00", text="Hi", column="phone", provider="winsms", way="stdin")
def test_whatever_is_enqueued_is_planned_whole_or_not_at_all(
    home: Path, ledger: Ledger, people: bytes, text: str, column: str, provider: str, way: str
) -> None:
    before = rows(ledger)
    (home / "fuzzed.csv").write_bytes(people)
    options = ["--provider", provider, f"--text={text}", f"--phone-column={column}", "--country=US"]
    source = "-" if way == "stdin" else "fuzzed.csv"
    dry = ["--dry-run"] if way == "dry" else []
    done = run("enqueue", source, *options, *dry, "--json", stdin=people)
    assert_decent(done)
    after = rows(ledger)
    if done.code or dry:
        assert after == before
        return
    assert after["campaign"] == before["campaign"] + 1
    (campaign,) = ledger.campaigns.latest(1)
    assert ledger.reports.discrepancies(campaign) == []
    assert campaign.totals.messages > 0
    report = run("report", campaign.public_id)
    assert_decent(report)
    assert run("status", campaign.public_id, "--json").code == 0


# --- Arguments --------------------------------------------------------------------------------------------------------


def tree(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command, with the words that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from tree(inner, (*path, name))


WORDS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=6).map(lambda word: word.replace("/", "").replace("..", "")),
    st.sampled_from(
        ["people.csv", "nothing.csv", "home", "1", "-1", "0.5", "winsms", "bsg", "+12025550100", "spring", "spring/1"]
    ),
    st.sampled_from(
        [
            '{"a": 1}',
            '{"a": "\\ud800"}',
            '{"a": 1e400, "b": NaN}',
            '{"a": ' + "9" * 30 + "}",
            "@people.csv",
            "a=b",
            "[" * 50_000,
        ]
    ),
    st.sampled_from(
        ["2126-12-01T09:00Z", "0001-01-01T00:00Z", "9999-12-31T23:59-23:59", "US", "resend", "submitted"]
    ),
)


def test_whatever_arguments_a_command_is_given_it_ends_decently(home: Path, ledger: Ledger) -> None:
    run("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi", "--name", "spring")
    commands = list(tree(cli.cli))
    assert len(commands) > 60
    flags = sorted(
        {word for _, command in commands for option in command.params for word in option.opts if word[0] == "-"}
    )

    @some(200)
    @given(data=st.data())
    def arbitrary(data: st.DataObject) -> None:
        path, command = data.draw(st.sampled_from(commands))
        own = [word for option in command.params for word in option.opts if word[0] == "-"]
        parts: list[str] = []
        for parameter in command.params:
            # Mostly what it asks for, so that the command itself is reached.
            if isinstance(parameter, click.Argument):
                parts += data.draw(st.lists(WORDS, max_size=2 if parameter.nargs == -1 else 1))
            elif data.draw(st.booleans()):
                value = data.draw(
                    st.sampled_from(list(parameter.type.choices))
                    if isinstance(parameter.type, click.Choice)
                    else WORDS
                )
                parts += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], str(value)]
        parts += data.draw(st.lists(WORDS | st.sampled_from(own + flags), max_size=2))
        assert_decent(run(*path, *parts))

    arbitrary()


@pytest.mark.parametrize(
    "args",
    [
        ("resolve", "spring/²", "submitted"),
        ("resolve", "spring/" + "9" * 5000, "submitted"),
        ("sakari", "contacts", "create", "--data", "[" * 100_000),
        ("sakari", "contacts", "create", "--data", '{"a": "\\ud800"}'),
        ("sakari", "contacts", "create", "--data", '{"a": ' + "9" * 30 + "}"),
        ("sakari", "contacts", "create", "--data", '{"a": ' + "9" * 5000 + "}"),
        ("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi", "--name", "\udcff"),
        ("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi", "--key", "\udcff"),
        ("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi \udcff"),
        ("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi", "--at", "9999-12-31T23:59-23:59"),
        ("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi", "--at", "0001-01-01T00:00+23:59"),
        ("status", "\udcff"),
        ("pause", "spring", "--reason", "\udcff"),
        ("optouts", "add", "+12025550100", "--reason", "\udcff"),
        ("optouts", "import", "home"),
    ],
)
def test_what_once_ended_in_a_traceback(home: Path, ledger: Ledger, args: tuple[str, ...]) -> None:
    run("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi", "--name", "spring")
    done = run(*args)
    assert_decent(done)
    assert done.code in (1, 2)
