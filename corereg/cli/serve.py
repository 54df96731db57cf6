"""``corereg serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from corereg.cli.context import CommandContext


@click.command()
@click.option("--host", metavar="H", help="The address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", help="The port; 0 takes a free one.  [default: 8080]"
)
@click.option("--workers", type=click.IntRange(1, 1024), metavar="N", help="Processes that answer.  [default: 1]")
@click.option("--server", type=click.Choice(["hypercorn", "uvicorn", "granian"]), help="Which HTTP server answers.")
@click.option("--tls", type=click.Choice(["self-signed"]), help="Make a certificate authority and use it.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="The certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Its private key, PEM.")
@click.option("--check-only", is_flag=True, help="Look whether it would start, and stop.")
@click.pass_obj
def serve(place: CommandContext, /, *, tls: str | None, check_only: bool, **options: Any) -> None:
    """Run the registry.

    \b
      corereg serve
      corereg serve --port 5000 --data /var/lib/corereg
      corereg serve --host 0.0.0.0 --tls self-signed
      corereg serve --workers 4 --server granian

    Ctrl+C or SIGTERM stops it: running transfers are finished first, for at most server.shutdown_timeout. A second one
    ends it at once.
    """  # noqa: D301 - click looks for the character, not for its name
    from corereg.cli.version import number
    from corereg.server import check, run

    keys = {"server": "kind", "tls_cert": "tls.cert", "tls_key": "tls.key"}
    place.overrides |= {f"server.{keys.get(name, name)}": value for name, value in options.items()}
    place.overrides["server.tls.self_signed"] = True if tls else None
    if check_only:
        for line in place.loop(lambda: check(place.config, number())):
            click.echo(line)
        return
    raise SystemExit(run(place.config, number()))
