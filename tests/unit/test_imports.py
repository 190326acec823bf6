"""What a process imports it holds for as long as it runs: what stays small, and what starts at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click import Context

from dispatcher import cli

HEAVY = ("sqlalchemy", "polars", "requests", "redis", "pydantic", "rich", "dispatcher.ledger", "dispatcher.sandbox")


def held(code: str, folder: Path) -> set[str]:
    """Return which of the heavy modules a process has that ran some code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}
    told = f"import json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{told}"],
        env=environment | {"DISPATCHER_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("code", "may_hold"),
    [
        ("import workers.app", {"pydantic"}),  # beat; Redis comes in with its first message
        ("import dispatcher.cli.up", {"pydantic", "redis", "requests", "dispatcher.sandbox"}),
        ("import dispatcher.cli", set()),
        (
            "from dispatcher import cli; cli.cli.get_command(None, 'status')",
            set(HEAVY) - {"polars", "dispatcher.sandbox"},
        ),
    ],
)
def test_a_process_holds_no_more_than_it_needs(tmp_path: Path, code: str, may_hold: set[str]) -> None:
    assert held(code, tmp_path) <= may_hold


def test_every_command_in_the_table_is_where_it_says_under_that_name() -> None:
    context = Context(cli.cli)
    for name in cli.cli.list_commands(context):
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert command.name == name
