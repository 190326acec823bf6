"""Prints what of requirements.lock the dispatcher needs to run: without the tools of its developers.

Run it where everything in the lock is installed: `python deploy/runtime_lock.py pyproject.toml requirements.lock`.
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[([^\]]*)\])?")


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(declared: list[str]) -> set[str]:
    """Return the names of the packages that these requirements lead to, as far as they are installed here."""
    found: set[str] = set()
    waiting = list(declared)
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        match = _NAME.match(requirement)
        if match is None or requirement in seen:
            continue
        seen.add(requirement)
        name, extras = _key(match[1]), {extra.strip() for extra in (match[2] or "").split(",")} - {""}
        try:
            further = requires(name) or []
        except PackageNotFoundError:
            continue  # not for this platform
        found.add(name)
        for one in further:
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", one)
            if extra is None or extra[1] in extras:
                waiting.append(one)
    return found


def main() -> None:
    """Print the entries of the lock that are needed, hashes included."""
    project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    needed = _needed(project["dependencies"])
    keep = False
    for line in Path(sys.argv[2]).read_text(encoding="utf-8").splitlines():
        if match := re.match(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", line):
            keep = _key(match[1]) in needed
        if keep and not line.lstrip().startswith("#"):
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
