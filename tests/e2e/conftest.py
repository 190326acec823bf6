"""End to end: the installed command in a home of its own, real worker processes, the sandbox over real HTTP."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dispatcher import reporting
from dispatcher.ledger import Ledger, open_ledger
from dispatcher.sandbox import Sandbox, Settings, client_settings
from tests.e2e import warm

COMMAND = Path(sys.executable).parent / "dispatcher"
_PATIENCE = 60.0


def until(true: Callable[[], Any], what: str, *, seconds: float = _PATIENCE) -> Any:
    """Wait for something that will come true, and return what it was."""
    end = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Home:
    """A data folder, and the command run on it."""

    folder: Path
    sandbox: Sandbox
    environment: dict[str, str]
    stack: subprocess.Popen[str] | None = None
    ledger: Ledger | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "up.log"

    def run(self, *args: str, stdin: str | None = None, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        done = warm.run(list(args), environment=self.environment, stdin=stdin or "")
        assert code is None or done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *args: str, stdin: str | None = None) -> Any:
        """Run the command with --json, and return what it printed."""
        return json.loads(self.run(*args, "--json", stdin=stdin).stdout)

    def popen(self, *args: str) -> subprocess.Popen[str]:
        """Start the command."""
        return subprocess.Popen(
            [COMMAND, *args], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def people(self, many: int, *, name: str = "people.csv") -> Path:
        """Write a list of so many good rows: fictional numbers with the fate of plain ones."""
        path = self.folder / name
        areas = [201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228]
        areas += [229, 231, 234, 239, 240, 248, 251, 252, 253, 254, 256, 260, 262, 267, 269, 270, 276, 281, 301, 302]
        numbers = [f"+1{area}55501{line:02}" for area in areas for line in range(90)]
        with path.open("w") as out:
            out.write("phone,first_name\n")
            out.writelines(f"{number},Ann{index}\n" for index, number in enumerate(numbers[:many]))
        return path

    def enqueue(self, many: int, *args: str, text: str = "Hi {first_name}") -> str:
        """Enqueue a campaign to a list of so many, and return its id."""
        found = self.json("enqueue", str(self.people(many)), "--provider", "winsms", "--text", text, *args)
        assert found["messages"] == many
        return str(found["campaign"])

    def status(self, campaign: str) -> dict[str, Any]:
        """Return what `status --json` prints, without the cost of a process: tests ask for it again and again."""
        if self.ledger is None:
            self.ledger = open_ledger(f"sqlite:///{self.folder / 'home' / 'ledger.db'}")
        return reporting.status(self.ledger, self.ledger.campaigns.get(campaign))

    def states(self, campaign: str) -> dict[str, int]:
        """Return how many messages there are in each state that has some."""
        return {state: many for state, many in self.status(campaign)["messages"].items() if many}

    def wait(self, campaign: str, state: str = "completed", *, seconds: float = _PATIENCE) -> dict[str, Any]:
        """Wait until the campaign is in a state."""

        def there() -> dict[str, Any] | None:
            status = self.status(campaign)
            return status if status["state"] == state else None

        found: dict[str, Any] = until(there, f"campaign {state}", seconds=seconds)
        return found

    def report(self, campaign: str) -> list[dict[str, str]]:
        return list(csv.DictReader(self.run("report", campaign).stdout.splitlines()))

    def up(self, *args: str) -> None:
        """Start the stack and wait until all of it runs."""
        with self.log.open("w") as out:
            self.stack = subprocess.Popen([COMMAND, "up", *args], env=self.environment, stderr=out, text=True)
        until(lambda: "up: data in" in self.log.read_text(), "up")

    def down(self) -> None:
        """Stop the stack in good order."""
        if self.stack is not None and self.stack.poll() is None:
            self.stack.send_signal(signal.SIGTERM)
            assert self.stack.wait(timeout=60) == 0, self.log.read_text()

    def pids(self, part: str = "") -> list[int]:
        """Return the processes that the stack ever started, or those of one part."""
        return [int(pid) for pid in re.findall(rf"{part}\S* started \(pid (\d+)\)", self.log.read_text())]

    @property
    def redis_socket(self) -> Path:
        return self.folder / "home" / "redis" / "redis.sock"

    def accepted(self) -> list[str]:
        """Return every number that the sandbox accepted a message for and did not give back."""
        return [one.number for one in self.sandbox.record.messages if not self.sandbox.record.is_recalled(one)]

    def texts(self, campaign_text: str) -> list[str]:
        """Return the texts that the sandbox accepted and that begin so."""
        return [one.text for one in self.sandbox.record.messages if one.text.startswith(campaign_text)]

    def sends(self) -> list[Any]:
        """Return the requests to send that the sandbox saw."""
        return [request for request in self.sandbox.record.requests if request.sends]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home of the test's own; nothing runs in it yet."""
    with made_home(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with its stack running, for all tests of a module that break nothing."""
    with made_home(tmp_path_factory.mktemp("running")) as made:
        made.up()
        yield made


@contextmanager
def made_home(tmp_path: Path) -> Iterator[Home]:
    """Give a home, and see to it that no process is left behind."""
    (tmp_path / "home").mkdir(mode=0o700)
    with Sandbox(settings=Settings(delivery_seconds=0.3, failing_share=0)) as sandbox:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}
        for provider, settings in client_settings(sandbox.url).items():
            prefix = f"DISPATCHER_{provider.upper()}__"
            environment |= {prefix + key.upper(): value for key, value in settings.items()}
            environment |= {prefix + "TIMEOUT": "4", prefix + "REQUESTS_PER_SECOND": "50"}
        made = Home(
            folder=tmp_path,
            sandbox=sandbox,
            environment=environment
            | {
                "DISPATCHER_HOME": str(tmp_path / "home"),
                "DISPATCHER_POLL_EVERY": "0.5",
                "DISPATCHER_LEASE_MARGIN": "2",
            },
        )
        yield made
        if made.ledger is not None:
            made.ledger.close()
        if made.stack is not None:
            pids = made.pids()
            if made.stack.poll() is None:
                made.stack.send_signal(signal.SIGTERM)
                made.stack.wait(timeout=60)
            until(lambda: not any(alive(pid) for pid in pids), "no process is left behind")


def fates(report: list[dict[str, str]]) -> Counter[str]:
    """Count the rows of a report by state."""
    return Counter(row["state"] for row in report)
