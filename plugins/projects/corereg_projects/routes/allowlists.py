"""The CVE allowlist of the whole registry (swagger.yaml, tag ``SystemCVEAllowlist``)."""

from __future__ import annotations

from collections.abc import Sequence

from corereg import SIGNED_IN, Database, Route, Session
from corereg_projects.allowlists import SYSTEM, UPDATE, change_system, read_allowlists
from corereg_projects.documents import CVEAllowlist, allowlist_document
from corereg_projects.routes.projects import CVEAllowlistReq

PATH = "/api/v2.0/system/CVEAllowlist"
TAG = "SystemCVEAllowlist"


class AllowlistRoutes:
    """The routes of one registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> Sequence[Route]:
        """The table."""
        return [
            Route("GET", PATH, self.get_system_cve_allowlist, SIGNED_IN, "The allowlist of the registry", tag=TAG),
            Route("PUT", PATH, self.put_system_cve_allowlist, UPDATE, "Replace the allowlist of the registry", tag=TAG),
        ]

    async def get_system_cve_allowlist(self, session: Session) -> CVEAllowlist:
        """What projects that reuse it take as harmless."""
        found = await read_allowlists(self._database, [SYSTEM])
        return allowlist_document(found[SYSTEM])

    async def put_system_cve_allowlist(self, session: Session, body: CVEAllowlistReq) -> None:
        """The whole list, and until when it holds."""
        await change_system(session, body.checked())
