"""The command that runs the sandbox by itself."""

from pathlib import Path

import click

from dispatcher import sandbox as stand_ins
from dispatcher.errors import UsageError


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8025, show_default=True, help="0 for a free one.")
@click.option("--record", "record_file", type=click.Path(path_type=Path), help="Keep what was accepted in a file.")
@click.option("--api-key", help="Accept this key only; any key by default.")
@click.option("--delivery-seconds", type=click.FloatRange(min=0), help="Every receipt comes after so long.")
def sandbox(*, port: int, record_file: Path | None, api_key: str | None, delivery_seconds: float | None) -> None:
    """Run local stand-ins for the providers: real HTTP, the real limits, and a record of what was accepted.

    \b
    What it accepted, and whether anyone was texted twice:
      curl localhost:8025/sandbox/summary
      curl localhost:8025/sandbox/duplicates
    Faults, for instance every tenth answer lost:
      curl localhost:8025/sandbox/faults -d '{"kind": "drop_after", "share": 0.1}'
    """
    chosen: dict[str, float | str] = {}
    if api_key is not None:
        chosen["api_key"] = api_key
    if delivery_seconds is not None:
        chosen["delivery_seconds"] = delivery_seconds

    def ready(url: str) -> None:
        click.echo(f"sandbox at {url}; Ctrl-C stops it")
        for name, settings in stand_ins.client_settings(url).items():
            pairs = (f"DISPATCHER_{name.upper()}__{key.upper()}={value}" for key, value in settings.items())
            click.echo("  export " + " ".join(pairs))

    try:
        stand_ins.run(port=port, ready=ready, settings=stand_ins.Settings(**chosen), record_file=record_file)
    except OSError as error:
        raise UsageError(
            f"the sandbox cannot listen on port {port}: {error.strerror}; choose another --port"
        ) from None
