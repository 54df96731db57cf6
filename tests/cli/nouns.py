"""The first-party commands that speak to registries, without the plugins that they belong to."""

from __future__ import annotations

import click

from corereg import hookimpl
from corereg_accounts.remote_commands import group_group, user_group
from corereg_labels.commands import label_group
from corereg_management.commands import artifact_group, repo_group, search, settings_group, tag_group
from corereg_management.declarative import apply, export_config
from corereg_projects.commands import project_group
from corereg_quotas.remote_commands import quota_group
from corereg_robots.commands import robot_group


@hookimpl
def provide_commands() -> list[click.Command]:
    """All of them."""
    groups = [project_group, robot_group, label_group, quota_group, repo_group, tag_group, artifact_group]
    return [*groups, search, settings_group, user_group, group_group, apply, export_config]
