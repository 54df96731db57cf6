"""Lists: tags, repositories, referrers."""

from __future__ import annotations

from collections.abc import Sequence

from corereg.access import Action, allowed, may_list
from corereg.oci.digest import Digest
from corereg.oci.errors import (
    NameUnknown,
)
from corereg.session.door import Door
from corereg.store.catalog import Page
from corereg.store.database import Row


class Lists(Door):
    """What a session lists."""

    __slots__ = ()

    async def tags(self, repository: str, last: str, limit: int) -> Page:
        """Names of the repository's tags after `last`, in byte order."""
        await self._require("pull", repository)
        repository_id = await self._house.catalog.repository_id(repository)
        if repository_id is None:
            message = f"there is no repository {repository}; check the name, or push to it first"
            raise NameUnknown(message)
        return await self._house.catalog.tags(repository_id, last, limit)

    async def repositories(self, last: str, limit: int) -> Page:
        """Names of the repositories the identity may pull, after `last`, in byte order."""
        grants = await self._house.plugins.grants(self.identity) if self.narrow else self.grants
        wanted = Action("catalog", "read")
        if self.narrow and not allowed(self.grants, wanted) and may_list(grants):
            raise self._too_narrow(wanted)
        if self.narrow or self.identity.anonymous:
            await self.require(wanted)
        return await self._house.catalog.repositories(grants, last, limit)

    async def referrers(
        self, repository: str, subject: Digest, *, artifact_type: str | None, last: str, limit: int
    ) -> Sequence[Row]:
        """(digest, descriptor as JSON) of the manifests whose subject is `subject`; none is no error."""
        await self._require("pull", repository)
        return await self._house.catalog.referrers(
            repository, subject, artifact_type=artifact_type, last=last, limit=limit
        )
