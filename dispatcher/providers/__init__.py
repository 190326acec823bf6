"""The providers: the files in this folder are the list of what is supported, and none knows of another.

A provider file has a `Settings` (a ProviderSettings: where it is and what it takes to be let in) and a
`connect(settings, tokens)` that returns the provider without any I/O.
"""

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import get_type_hints

from dispatcher.config import ProviderSettings
from dispatcher.errors import SettingsError
from dispatcher.provider import Provider, Tokens


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of the supported providers, in alphabetical order."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def settings_models() -> dict[str, type[ProviderSettings]]:
    """Return the settings that each provider takes, by its name."""
    models: dict[str, type[ProviderSettings]] = {name: _module(name).Settings for name in names()}
    return models


def connect(name: str, settings: ProviderSettings, tokens: Tokens) -> Provider:
    """Return a provider, ready to be called; nothing is sent yet.

    Raises:
        SettingsError: there is no such provider, or the settings are not its own or unusable.
    """
    module = _module(name)
    if not isinstance(settings, module.Settings):
        raise SettingsError(f"these are not the settings of {name}")
    provider: Provider = module.connect(settings, tokens)
    return provider


def provider_class(name: str) -> type:
    """Return the class of a provider, which tells its abilities without an account."""
    found: type = get_type_hints(_module(name).connect)["return"]
    return found


def _module(name: str) -> ModuleType:
    if name not in names():
        raise SettingsError(f"there is no provider {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
