"""Artifacts by their labels: what ``q`` says with the key ``labels``."""

from __future__ import annotations

import sqlalchemy as sa

from corereg import BadRequest, Term, tables
from corereg_labels.schema import attachments


def carrying(term: Term) -> sa.ColumnElement[bool]:
    """A condition on the core's manifests: ``labels=(1 2)`` all of them, ``{1 2}`` any, ``1`` that one; by id.

    Raises BadRequest.
    """
    ids = [each for each in term.values if isinstance(each, int)]
    if term.how not in {"is", "any", "all"} or len(ids) != len(term.values):
        message = "q: labels are asked for by their ids: labels=(1 2) for all of them, labels={1 2} for any"
        raise BadRequest(message)
    if term.how == "all":
        return sa.and_(sa.true(), *(_carries(attachments.c.label_id == each) for each in ids))
    return _carries(attachments.c.label_id.in_(ids))


def _carries(wanted: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    manifests = tables.manifests
    return sa.exists().where(
        attachments.c.repository_id == manifests.c.repository_id, attachments.c.digest == manifests.c.digest, wanted
    )
