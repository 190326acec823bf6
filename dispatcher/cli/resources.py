"""`dispatcher sakari contacts list` and the like: the documented calls on what a provider keeps, one command each."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from dispatcher.cli.accounts import take_lookup, usable
from dispatcher.cli.files import media_type, read_file
from dispatcher.cli.opening import opened
from dispatcher.cli.output import print_json
from dispatcher.cli.plain import printable
from dispatcher.errors import InputError, UsageError
from dispatcher.provider import HasResources, HostsMedia, Item, Provider, Resource
from dispatcher.runtime import Runtime

_data = click.option(
    "--data", required=True, metavar="JSON", help="The body, as the provider documents it; or @FILE."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs; lists one item a line.")


class ProviderGroup(click.Group):
    """The commands of one provider, made from its resources when they are asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help=f"What {name} keeps for us: list, show, create, update, delete.")
        self.provider = name

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the resources."""
        del ctx
        with opened() as runtime:
            provider = runtime.provider(self.provider)
            names = [resource.name for resource in _resources(provider)]
            return sorted([*names, "share"] if isinstance(provider, HostsMedia) else names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the group of one resource."""
        del ctx
        with opened() as runtime:
            provider = runtime.provider(self.provider)
        if cmd_name == "share" and isinstance(provider, HostsMedia):
            return _share(self.provider)
        found = [resource for resource in _resources(provider) if resource.name == cmd_name]
        return _group(self.provider, found[0]) if found else None


def _resources(provider: Provider) -> list[Resource]:
    return list(provider.resources()) if isinstance(provider, HasResources) else []


def _group(provider: str, resource: Resource) -> click.Group:
    group = click.Group(resource.name, help=f"{resource.name} at {provider}; one is named by {resource.key}.")
    if resource.find is not None:
        group.add_command(_list(provider, resource))
    on_one = [verb for verb in ("show", "delete") if getattr(resource, verb) is not None]
    for verb in [*on_one, *resource.actions]:
        group.add_command(_on_one(provider, resource, verb))
    if resource.create is not None:
        group.add_command(_create(provider, resource))
    if resource.update is not None:
        group.add_command(_update(provider, resource))
    for verb in resource.uploads:
        group.add_command(_upload(provider, resource, verb))
    return group


def _with_resource(name: str, resource: Resource, use: Callable[[Runtime, Resource], None]) -> None:
    with opened() as runtime:
        found = [one for one in _resources(usable(runtime, name)) if one.name == resource.name]
        use(runtime, found[0])


def _list(provider: str, resource: Resource) -> click.Command:
    words = ", ".join(resource.filters) or "none"

    @click.command(name="list", help=f"List {resource.name}. Filters: {words}.")
    @click.option("--filter", "filters", multiple=True, metavar="WORD=VALUE", help="Only those that fit; repeatable.")
    @click.option("--most", type=click.IntRange(1), default=100, show_default=True, help="Stop after so many.")
    @_json
    def command(*, filters: tuple[str, ...], most: int, as_json: bool) -> None:
        chosen = _pairs(filters)
        unknown = set(chosen) - set(resource.filters)
        if unknown:
            raise UsageError(
                f"{provider} {resource.name} has no filter {', '.join(sorted(unknown))}; it has: {words}"
            )

        def use(runtime: Runtime, found: Resource) -> None:
            assert found.find is not None
            shown, page = 0, None
            while shown < most:
                listed = found.find(chosen, page)
                for item in listed.items[: most - shown]:
                    shown += 1
                    _show(item, as_json=as_json)
                page = listed.next_page
                if page is None:
                    return
                take_lookup(runtime, provider)

        _with_resource(provider, resource, use)

    return command


def _on_one(provider: str, resource: Resource, verb: str) -> click.Command:
    @click.command(name=verb, help=f"{verb.capitalize()} one of {resource.name}: KEY is {resource.key}.")
    @click.argument("key")
    @_json
    def command(key: str, *, as_json: bool) -> None:
        def use(_: Runtime, found: Resource) -> None:
            call: Callable[[str], Item] = found.actions[verb] if verb in found.actions else getattr(found, verb)
            _show(call(key), as_json=as_json)

        _with_resource(provider, resource, use)

    return command


def _create(provider: str, resource: Resource) -> click.Command:
    @click.command(name="create", help=f"Create one of {resource.name}.")
    @_data
    @_json
    def command(*, data: str, as_json: bool) -> None:
        def use(_: Runtime, found: Resource) -> None:
            assert found.create is not None
            _show(found.create(_body(data)), as_json=as_json)

        _with_resource(provider, resource, use)

    return command


def _update(provider: str, resource: Resource) -> click.Command:
    @click.command(name="update", help=f"Update one of {resource.name}: KEY is {resource.key}.")
    @click.argument("key")
    @_data
    @_json
    def command(key: str, *, data: str, as_json: bool) -> None:
        def use(_: Runtime, found: Resource) -> None:
            assert found.update is not None
            _show(found.update(key, _body(data)), as_json=as_json)

        _with_resource(provider, resource, use)

    return command


def _upload(provider: str, resource: Resource, verb: str) -> click.Command:
    @click.command(name=verb, help=f"{verb.capitalize()} FILE to {resource.name}.")
    @click.argument("file", type=click.Path(path_type=Path))
    @click.option("--option", "options", multiple=True, metavar="WORD=VALUE", help="As the provider documents it.")
    @_json
    def command(file: Path, *, options: tuple[str, ...], as_json: bool) -> None:
        content = read_file(file)
        _with_resource(
            provider,
            resource,
            lambda _, found: _show(found.uploads[verb](file.name, content, _pairs(options)), as_json=as_json),
        )

    return command


def _share(provider: str) -> click.Command:
    @click.command(name="share", help=f"Upload FILE to {provider}, and print its address.")
    @click.argument("file", type=click.Path(path_type=Path))
    @_json
    def command(file: Path, *, as_json: bool) -> None:
        content = read_file(file)
        with opened() as runtime:
            hosting = usable(runtime, provider)
            assert isinstance(hosting, HostsMedia)
            url = hosting.share(file.name, media_type(file), content)
        _show({"url": url}, as_json=as_json)

    return command


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"write WORD=VALUE, not {printable(name)}")
    return {name: value for name, _, value in pairs}


def _body(data: str) -> dict[str, Any]:
    text = read_file(Path(data[1:])).decode("utf-8", "replace") if data.startswith("@") else data
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"--data is not JSON: {error}") from None
    except RecursionError:
        raise InputError("--data is nested too deeply") from None
    if not isinstance(found, dict):
        raise InputError('--data is a JSON object, as in {"name": "value"}')
    return found


def _show(item: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(dict(item))
        return
    for name, value in item.items():
        plain = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
        click.echo(f"{name}: {printable(plain)}")
    click.echo("")
