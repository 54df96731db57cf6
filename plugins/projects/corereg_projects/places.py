"""Which repositories stand in which project, counted from the core's table: by range of names, never one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from corereg import Database, among, tables
from corereg_projects.schema import projects

repositories = tables.repositories
_inner = projects.alias("inner_projects")


def _in(name: sa.ColumnElement[str], project: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether the name begins with the project's; the character after the slash is a 0."""
    return sa.and_(name > project + "/", name < project + "0")


def standing(project: sa.ColumnElement[str], name: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether a repository stands in a project, and in none that stands in that project in turn."""
    nearer = sa.select(_inner.c.id).where(_in(_inner.c.name, project), _in(name, _inner.c.name))
    return sa.and_(_in(name, project), ~sa.exists(nearer.correlate(projects, repositories)))


def counted() -> sa.ScalarSelect[int]:
    """How many repositories stand in a row of `projects`.

    A count inside the select, not a join: PostgreSQL takes a join by range for so expensive that it compiles it first.
    """
    count = sa.select(sa.func.count(repositories.c.id)).where(standing(projects.c.name, repositories.c.name))
    return count.correlate(projects).scalar_subquery()


async def repository_counts(database: Database, ids: Collection[int]) -> Mapping[int, int]:
    """How many repositories stand in each of the projects: one statement."""
    if not ids:
        return {}
    select = sa.select(projects.c.id, counted()).where(among(database, projects.c.id, ids))
    return {int(number): int(count) for number, count in await database.rows(select)}


async def totals(database: Database, where: sa.ColumnElement[bool]) -> Mapping[str, tuple[int, int]]:
    """How many projects and repositories of each visibility there are among those that `where` takes: one statement."""
    each = sa.select(projects.c.visibility, counted().label("repositories")).where(where).subquery()
    select = sa.select(each.c.visibility, sa.func.count(), sa.func.sum(each.c.repositories)).group_by(each.c.visibility)
    return {word: (int(count), int(inside)) for word, count, inside in await database.rows(select)}
