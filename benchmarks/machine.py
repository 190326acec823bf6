"""What the figures were taken on: machine, versions, load."""

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path

from dispatcher.stack import find_redis_server

_PACKAGES = ("celery", "kombu", "redis", "sqlalchemy", "psycopg", "msgspec", "requests", "polars", "phonenumbers")


def facts() -> dict[str, str]:
    """Return what the machine is and which versions run on it."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if "model name" in line), "?"
    )
    total = next((int(line.split()[1]) for line in _read("/proc/meminfo").splitlines() if "MemTotal" in line), 0)
    redis = subprocess.run([find_redis_server(), "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "processor": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{total / 1e6:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "redis": next((word[2:] for word in redis.split() if word.startswith("v=")), "?"),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def load() -> str:
    """Return the load average of the last minute: what else ran."""
    return f"{os.getloadavg()[0]:.1f}"


def commit() -> str:
    """Return the commit that was measured, with a + where files differ from it."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "dispatcher", "workers"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "?"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
