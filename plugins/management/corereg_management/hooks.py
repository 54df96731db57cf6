"""The hooks this plugin asks: what other plugins know about what it shows.

One call for a page, never one for a row. What one of them raises fails the request: a list that leaves out what it
could not find out would be believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from corereg import Artifact, hookspec

if TYPE_CHECKING:  # `corereg --help` reads this page
    import sqlalchemy as sa

    from corereg import Session, Term


@hookspec
async def describe_artifacts(
    artifacts: Sequence[Artifact], wanted: frozenset[str]
) -> Mapping[Artifact, Mapping[str, Any]] | None:
    """Say what this plugin knows about artifacts: fields of Harbor's artifact, by artifact.

    Asked: once for each page of artifacts, and for one artifact, when somebody wants one of the fields: ``labels``,
    ``scan_overview``, ``sbom_overview``, ``immutable_tags`` (the names of its tags that cannot be changed). `wanted`
    holds those.
    Order: every plugin; of two that give one field of one artifact, the later wins.
    None: nothing to say. An artifact that is left out has nothing either.
    Raises: anything; the request fails and the error is logged.
    Example::

        @hookimpl(optionalhook=True)
        async def describe_artifacts(artifacts, wanted):
            if "labels" in wanted:
                return {each: {"labels": []} for each in artifacts}
    """


@hookspec
async def narrow_artifacts(term: Term) -> sa.ColumnElement[bool] | None:
    """Turn one term of a list's ``q`` into a condition over ``tables.manifests``.

    Asked: for each term whose key the list of artifacts does not have itself (``labels``).
    Order: the first plugin that answers wins.
    None: the key is not this plugin's. When nobody answers, the term is ignored, as Harbor does.
    Raises: `BadRequest` for a term that makes no sense; anything else fails the request and is logged.
    Example::

        @hookimpl(optionalhook=True)
        async def narrow_artifacts(term):
            if term.key == "large":
                return tables.manifests.c.size > 10_000
    """


@hookspec
async def describe_system(session: Session) -> Mapping[str, Any] | None:
    """Say what this plugin knows about the whole registry: fields of Harbor's ``GET /systeminfo``.

    Asked: for each such request; `session` says by whom. People who have not signed in are shown only what a sign-in
    page needs, whatever is answered here.
    Order: every plugin; of two that give one field, the later wins.
    None: nothing to say.
    Raises: anything; the request fails and the error is logged.
    Example::

        @hookimpl(optionalhook=True)
        async def describe_system(session):
            return {"auth_mode": "db_auth", "self_registration": False}
    """


@hookspec
async def count_projects(session: Session) -> Mapping[str, int] | None:
    """Count projects and repositories: the fields of Harbor's ``GET /statistics``, for whoever asks.

    Asked: for each such request.
    Order: every plugin; of two that give one field, the later wins.
    None: nothing to count.
    Raises: anything; the request fails and the error is logged.
    Example::

        @hookimpl(optionalhook=True)
        async def count_projects(session):
            return {"public_project_count": 1, "private_project_count": 0}
    """


@hookspec
async def search_projects(session: Session, text: str) -> Sequence[Any] | None:
    """Find projects whose name holds a text, among those the session may see: Harbor's projects, as JSON values.

    Asked: for each ``GET /search``.
    Order: every plugin; the answers are put one after the other.
    None: nothing found.
    Raises: anything; the request fails and the error is logged.
    Example::

        @hookimpl(optionalhook=True)
        async def search_projects(session, text):
            if text in "library":
                return [{"project_id": 1, "name": "library"}]
    """
