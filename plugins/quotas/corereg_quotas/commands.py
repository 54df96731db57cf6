"""``corereg quota``: over the API; ``reconcile`` on the local data, whether or not a server runs on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import click

from corereg import remote
from corereg_quotas import remote_commands

if TYPE_CHECKING:
    from corereg import Registry
    from corereg_quotas.reconcile import Difference

__all__ = ["quota_group"]

PROBLEMS = 9
"""The exit status of a check that found something."""


class Runs(Protocol):
    """What the command line hands to every command."""

    def run(self, work: Callable[[Registry], Awaitable[list[Difference]]], /) -> list[Difference]:
        """Run `work` on the open registry; what the registry refuses ends the command with its exit code."""


@click.group("quota")
def _local() -> None:
    """Look after what namespaces are counted to hold."""


@_local.command("reconcile")
@click.option("--check", is_flag=True, help="Change nothing; exit with 9 when a counter is wrong.")
@click.pass_context
def reconcile_command(context: click.Context, *, check: bool) -> None:
    """Count anew what every namespace holds.

    Counters are exact by themselves; this is for whoever wants to see it, or has changed the database by hand.
    """
    from corereg_quotas.quotas import Quotas
    from corereg_quotas.reconcile import reconcile

    runs: Runs = context.obj

    async def work(registry: Registry) -> list[Difference]:
        return await reconcile(Quotas(registry), check=check)

    found = runs.run(work)
    for difference in found:
        click.echo(str(difference))
    if not found:
        click.echo("every namespace is counted right")
    elif check:
        click.echo(f"{len(found)} counters are wrong; `corereg quota reconcile` mends them", err=True)
        context.exit(PROBLEMS)
    else:
        click.echo(f"mended {len(found)} counters")


# While a registry is selected `reconcile` wants --local: it would count on another machine than `list` shows.
quota_group = remote.either("quota", _local, remote_commands.quota_group)
