"""The settings: read once, from the environment and an optional dispatcher.toml; the only reader of either."""

import fcntl
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import InitSettingsSource

from dispatcher.errors import SettingsError

PREFIX = "DISPATCHER_"
SUPERVISOR = PREFIX + "SUPERVISOR"
RUNTIME_FILE = "up.json"
"""In the home while `dispatcher up --sandbox` runs: the settings that point this home at its sandbox."""

LOCK_FILE = "up.lock"
"""In the home, locked while `dispatcher up` runs."""


_LONGEST_SOCKET_PATH = 100
"""Bytes; the system's own limit is 104 or 108, by platform."""


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


Rate = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_empty_is_none)]
"""A limit per second; None (or an empty variable) means that there is none."""


class ProviderSettings(BaseModel):
    """What every provider needs to be told; each provider file adds its credentials."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    base_url: str
    requests_per_second: Rate = None
    segments_per_second: Rate = None
    timeout: float = Field(default=30.0, gt=0, le=600, description="Seconds that one request may take in all.")

    def missing(self) -> list[str]:
        """Return the names of the settings without which the provider cannot be called."""
        return []


class Settings(BaseSettings):
    """The settings that are not a provider's; `load` adds one section a provider."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="ignore",
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    home: Path = Path()  # the platform's folder for user data
    ledger_url: str = ""
    redis_url: str = ""
    broker_url: str = ""
    poll_every: float = Field(default=30.0, gt=0)
    country: Annotated[str | None, BeforeValidator(_empty_is_none)] = None
    window: str = ""
    days: str = ""
    skip_holidays: bool = False
    at_most: str = ""
    brand: str = ""
    workers: int = Field(default=1, ge=1, le=64)
    threads: int = Field(default=16, ge=1, le=256)
    slices: Annotated[Annotated[int, Field(ge=1, le=4096)] | None, BeforeValidator(_empty_is_none)] = None
    drain_seconds: float = Field(default=30.0, ge=0)
    lease_margin: float = Field(default=30.0, ge=1, description="Seconds by which a lease outlives its request.")
    keep_days: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_empty_is_none)] = Field(
        default=None, description="Days after its end at which a campaign's texts, fields and numbers are erased."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    supervisor: int = Field(default=0, description="Set by `dispatcher up`: a worker ends when this process has.")
    failpoint: str = Field(default="", description="For tests: kill a worker at this point.")
    clock_offset: float = Field(
        default=0.0, description="For tests: the seconds by which this process's clock is off."
    )

    @property
    def redis_socket(self) -> Path:
        """Where the embedded redis-server listens: in the home, or, if that is too long for a socket, in /tmp."""
        path = self.home / "redis" / "redis.sock"
        if len(str(path).encode()) <= _LONGEST_SOCKET_PATH:
            return path
        digest = hashlib.blake2b(str(self.home).encode(), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"dispatcher-{os.getuid()}-{digest}" / "redis.sock"

    @property
    def embedded_redis(self) -> bool:
        """Whether the Redis is the one that `dispatcher up` starts in the home."""
        return self.redis_url == f"unix://{self.redis_socket}?db=0"

    def section(self, provider: str) -> ProviderSettings:
        """Return the settings of one provider."""
        section = getattr(self, provider, None)
        if not isinstance(section, ProviderSettings):
            raise SettingsError(f"there is no provider {provider!r}")
        return section

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: what `up --sandbox` says of this home, the environment, then dispatcher.toml."""
        del dotenv_settings, file_secret_settings
        file = _toml()
        home = os.environ.get(PREFIX + "HOME") or file.get("home") or platformdirs.user_data_dir("dispatcher")
        runtime = InitSettingsSource(settings_cls, init_kwargs=_runtime(Path(str(home)).expanduser()))
        return init_settings, runtime, env_settings, InitSettingsSource(settings_cls, init_kwargs=file)

    def model_post_init(self, context: object, /) -> None:
        """Fill in what follows from the home."""
        super().model_post_init(context)
        if self.home == Path():
            self.home = Path(platformdirs.user_data_dir("dispatcher"))
        self.home = self.home.expanduser().absolute()
        if not self.ledger_url:
            self.ledger_url = f"sqlite:///{self.home / 'ledger.db'}"
        if not self.redis_url:
            self.redis_url = f"unix://{self.redis_socket}?db=0"
        if not self.broker_url:
            url = self.redis_url
            if url.startswith("unix://"):  # kombu writes it in another way
                path, _, query = url.removeprefix("unix://").partition("?")
                url = f"redis+socket://{path}?virtual_host={query.removeprefix('db=') or 0}"
            self.broker_url = url


def _toml() -> dict[str, Any]:
    path = Path(os.environ.get(PREFIX + "CONFIG") or "dispatcher.toml")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if os.environ.get(PREFIX + "CONFIG"):
            raise SettingsError(f"{PREFIX}CONFIG names {path}, which does not exist") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: not a readable TOML file: {error}") from None


def _runtime(home: Path) -> dict[str, Any]:
    """Return what `up --sandbox` says of this home, as long as it runs."""
    try:
        found = json.loads((home / RUNTIME_FILE).read_text(encoding="utf-8"))
        with (home / LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        settings = found.get("settings") if isinstance(found, dict) else None
        return settings if isinstance(settings, dict) else {}
    except (OSError, ValueError):
        return {}
    return {}  # nobody holds the lock: the file is what a killed `up` left behind


def load(sections: Mapping[str, type[ProviderSettings]]) -> Settings:
    """Read the settings, with one section for each provider in `sections`.

    Raises:
        SettingsError: a setting is wrong; the message names each by its variable, never its value.
    """
    fields: dict[str, Any] = {name: (model, Field(default_factory=model)) for name, model in sections.items()}
    complete: type[Settings] = create_model("CompleteSettings", __base__=Settings, **fields)
    try:
        return complete()
    except ValidationError as error:
        lines = [
            f"{PREFIX}{'__'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise SettingsError("wrong settings: " + "; ".join(lines)) from None


def point_at_sandbox(home: Path, settings: Mapping[str, Mapping[str, str]]) -> None:
    """Let every command that uses this home talk to its sandbox: provider → settings, before all other sources."""
    path = home / RUNTIME_FILE
    path.unlink(missing_ok=True)
    # Its owner's alone from the first moment on.
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as out:
        out.write(json.dumps({"settings": settings}))


def point_at_providers(home: Path) -> None:
    """Undo `point_at_sandbox`."""
    (home / RUNTIME_FILE).unlink(missing_ok=True)
