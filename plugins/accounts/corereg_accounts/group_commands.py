"""``corereg group``: local groups, on the local data, whether or not a server runs on it.

``corereg --help`` reads this page, so what a command works with is imported when it works.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from corereg import Missing
from corereg_accounts.commands import Runs, on_users
from corereg_accounts.printing import table

if TYPE_CHECKING:
    from corereg import Registry
    from corereg_accounts.groups import Group, Groups
    from corereg_accounts.users import Users


@click.group("group")
def group_group() -> None:
    """Make local groups, and say who belongs to them.

    \b
    corereg group create ops
    corereg group add ops alice
    corereg group list
    """  # noqa: D301 - click looks for the character, not for its name


@group_group.command("create")
@click.argument("name")
@click.pass_obj
def create(runs: Runs, name: str) -> None:
    """Make a local group."""

    async def work(registry: Registry, _users: Users) -> None:
        from corereg_accounts.groups import Groups, Kind

        group = await Groups(registry.database).create(registry.session(), Kind.LOCAL, name)
        click.echo(f"created {group.name}")

    on_users(runs, work)


@group_group.command("list")
@click.option("-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", help="How to print it.")
@click.pass_obj
def list_groups(runs: Runs, output: Literal["table", "json", "name"]) -> None:
    """List the groups of all kinds."""

    async def work(registry: Registry, _users: Users) -> None:
        from corereg_accounts.groups import Groups, Kind

        found = await Groups(registry.database).everything()
        if output == "json":
            items = [_item(group, count) for group, count in found]
            click.echo(msgspec.json.encode({"items": items, "next": None}).decode())
        elif output == "name":
            click.echo("".join(f"{group.name}\n" for group, _ in found), nl=False)
        else:
            rows = [(group.name, str(group.id), Kind(group.type).name, str(count)) for group, count in found]
            click.echo("\n".join(table(("NAME", "ID", "TYPE", "MEMBERS"), rows)))

    on_users(runs, work)


@group_group.command("add")
@click.argument("group")
@click.argument("user")
@click.pass_obj
def add(runs: Runs, group: str, user: str) -> None:
    """Let a user belong to a local group."""

    async def work(registry: Registry, users: Users) -> None:
        from corereg_accounts.groups import Groups

        groups = Groups(registry.database)
        found, member = await _local(groups, group), await users.named(user)
        await groups.add(registry.session(), found, member)
        click.echo(f"{member.name} belongs to {found.name}")

    on_users(runs, work)


@group_group.command("remove")
@click.argument("group")
@click.argument("user")
@click.pass_obj
def remove(runs: Runs, group: str, user: str) -> None:
    """Take a user out of a local group."""

    async def work(registry: Registry, users: Users) -> None:
        from corereg_accounts.groups import Groups

        groups = Groups(registry.database)
        found, member = await _local(groups, group), await users.named(user)
        await groups.remove(registry.session(), found, member)
        click.echo(f"{member.name} does not belong to {found.name} any more")

    on_users(runs, work)


@group_group.command("delete")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(runs: Runs, name: str, *, yes: bool) -> None:
    """Delete a local group. Whoever had rights through it has them no more."""
    if not yes and not sys.stdin.isatty():
        message = "there is no terminal to ask on; use --yes to delete without being asked"
        raise click.UsageError(message)
    if not yes:
        click.confirm(f"Delete the group {name}?", abort=True, err=True)

    async def work(registry: Registry, _users: Users) -> None:
        from corereg_accounts.groups import Groups

        groups = Groups(registry.database)
        group = await _local(groups, name)
        await groups.delete(registry.session(), group)
        click.echo(f"deleted {group.name}")

    on_users(runs, work)


async def _local(groups: Groups, name: str) -> Group:
    from corereg_accounts.groups import Kind

    group = await groups.named(name, [Kind.LOCAL])
    if group is None:
        message = f"there is no local group {name!r}"
        raise Missing(message)
    return group


def _item(group: Group, count: int) -> dict[str, Any]:
    return msgspec.structs.asdict(group) | {"members": count}
