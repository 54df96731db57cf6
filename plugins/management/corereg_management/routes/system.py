"""The registry as a whole: settings, health, counts, what it is (Harbor's ``configure``, ``systeminfo`` ...)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import sqlalchemy as sa

from corereg import (
    OPEN,
    SIGNED_IN,
    Action,
    BadRequest,
    DatabaseError,
    Missing,
    Node,
    Registry,
    Request,
    Response,
    Route,
    Session,
    StorageError,
    __version__,
    blob_key,
    now,
    tables,
)
from corereg_management import documents
from corereg_management.configurations import AUTH_MODE, LOCAL, taken
from corereg_management.documents import rfc3339
from corereg_management.job_documents import node_document
from corereg_management.switches import BANNER, READ_ONLY

API = "/api/v2.0"
HARBOR = "v2.16.0"
"""The release of Harbor whose API this is; clients compare it."""
TO_EVERYBODY = frozenset(
    {
        "auth_mode",
        "primary_auth_mode",
        "self_registration",
        "banner_message",
        "oidc_provider_name",
        "authproxy_settings",
    }
)
"""What a sign-in page needs to know."""
PROBE = "sha256:" + "0" * 64
PATIENCE = 5.0
"""Seconds a part may take to answer before it counts as unhealthy."""
LATE = 900.0
"""Seconds the first event that a reader of the journal has not seen may be old."""
FRESH = 2_000_000
"""Microseconds a look at the parts of the registry is used again: anybody may ask, and as often as they like."""
_host = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")


class SystemRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._looked_at = 0
        self._health = documents.Health("healthy", [], [])
        self._looking = anyio.Lock()

    def routes(self) -> Sequence[Route]:
        """The table."""
        read, update = Action("configuration", "read"), Action("configuration", "update")
        return [
            Route("GET", "/api/version", self.get_version, OPEN, "Get the version of the API.", extension=True),
            Route(
                "GET", f"{API}/ping", self.get_ping, OPEN, "Ping, to see that the API answers.",
                tag="ping", produces="text/plain",
            ),
            Route("GET", f"{API}/health", self.get_health, OPEN, "Get the health of the registry.", tag="health"),
            Route("GET", f"{API}/statistics", self.get_statistic, SIGNED_IN, "Get counts.", tag="statistic"),
            Route(
                "GET", f"{API}/systeminfo", self.get_system_info, OPEN, "Get general information.", tag="systeminfo"
            ),
            Route(
                "GET", f"{API}/systeminfo/volumes", self.get_volumes, Action("system-volumes", "read"),
                "Get the disks that blobs lie on.", tag="systeminfo",
            ),
            Route(
                "GET", f"{API}/systeminfo/getcert", self.get_cert, OPEN, "Get the registry's own root certificate.",
                tag="systeminfo", errors=(404,), produces="application/x-x509-ca-cert",
            ),
            Route("GET", f"{API}/configurations", self.get_configurations, read, "Get settings.", tag="configure"),
            Route(
                "PUT", f"{API}/configurations", self.update_configurations, update, "Change settings.", tag="configure"
            ),
            Route("GET", f"{API}/internalconfig", self.get_internalconfig, read, "Get settings.", tag="configure"),
        ]  # fmt: skip

    # ---- is it there ----

    async def get_version(self, session: Session) -> documents.Version:
        """Which API is spoken here."""
        return documents.Version("v2.0")

    async def get_ping(self, session: Session) -> Response:
        """Asks no database."""
        return Response(200, [("content-type", "text/plain; charset=utf-8"), ("content-length", "4")], b"Pong")

    async def get_health(self, session: Session) -> documents.Health:
        """Always 200: a part that is ill is told in the body."""
        async with self._looking:
            if now() - self._looked_at > FRESH:
                self._health = await self._look()
                self._looked_at = now()
        return self._health

    async def _look(self) -> documents.Health:
        found = {"core": "", "database": "", "registry": "", "jobservice": "", "journal": ""}
        nodes: Sequence[Node] = []
        if not await self._database_answers():
            found |= dict.fromkeys(("database", "jobservice", "journal"), "the database does not answer")
        else:
            found["jobservice"], nodes = await self._jobs_run()
            found["journal"] = await self._journal_is_read()
        if not await self._storage_answers():
            found["registry"] = "the storage does not answer"
        components = [
            documents.Component(name, "unhealthy" if error else "healthy", error) for name, error in found.items()
        ]
        return documents.Health(
            "unhealthy" if any(found.values()) else "healthy", components, [node_document(node) for node in nodes]
        )

    async def _database_answers(self) -> bool:
        with anyio.move_on_after(PATIENCE):
            return await self._registry.ready()
        return False

    async def _jobs_run(self) -> tuple[str, Sequence[Node]]:
        """What is wrong with the processes that run jobs, and all of them; a registry that has just begun has none."""
        try:
            nodes = await self._registry.nodes.all()
        except DatabaseError:
            return "the database does not answer", []
        works = not nodes or any(node.alive and node.slots for node in nodes)
        return "" if works else "no process runs jobs", nodes

    async def _journal_is_read(self) -> str:
        """What is wrong with those that read the journal: audit, quotas, webhooks."""
        try:
            behind = await self._registry.journal.behind()
        except DatabaseError:
            return "the database does not answer"
        here = self._registry.plugins.observers()
        late = sorted(reader for reader, (_, age) in behind.items() if reader in here and age > LATE)
        return f"far behind: {', '.join(late)}" if late else ""

    async def _storage_answers(self) -> bool:
        try:
            with anyio.fail_after(PATIENCE):
                await self._registry.storage.stat(blob_key(PROBE))
        except (StorageError, TimeoutError):
            return False
        return True

    # ---- what it is ----

    async def get_statistic(self, session: Session) -> documents.Statistic:
        """How many projects and repositories the caller sees; the bytes of all blobs for administrators."""
        counts: dict[str, int] = {}
        for _, ask in self._registry.plugins.asked("count_projects"):
            counts |= await ask(session) or {}
        if session.may(Action("statistic", "read")):
            row = await self._registry.database.row(sa.select(sa.func.coalesce(sa.func.sum(tables.blobs.c.size), 0)))
            counts["total_storage_consumption"] = int(row[0]) if row else 0
        known = documents.Statistic.__struct_fields__
        return documents.Statistic(**{name: count for name, count in counts.items() if name in known})

    async def get_system_info(self, session: Session, request: Request) -> dict[str, Any]:
        """Little for everybody, more for whoever has signed in."""
        settings = self._registry.settings
        found: dict[str, Any] = {BANNER: settings.get(BANNER)}
        for _, ask in self._registry.plugins.asked("describe_system"):
            found |= await ask(session) or {}
        if session.identity.anonymous:
            return {name: value for name, value in found.items() if name in TO_EVERYBODY}
        url = external_url(self._registry, request)
        return {
            **found,
            "harbor_version": f"{HARBOR}-corereg.{__version__}",
            "external_url": url,
            "registry_url": url.partition("://")[2],
            "has_ca_root": authority(self._registry) is not None,
            READ_ONLY: settings.get(READ_ONLY),
            "registry_storage_provider_name": provider(self._registry.config.storage_url),
            "current_time": rfc3339(now()),
        }

    async def get_volumes(self, session: Session) -> documents.SystemInfo:
        """The disk of the storage, where it is one of this machine's."""
        place = self._registry.storage.path(blob_key(PROBE))
        if place is None:
            return documents.SystemInfo([])
        total = await anyio.to_thread.run_sync(disk_of, Path(place))
        free = await self._registry.storage.free()
        return documents.SystemInfo([documents.Volume(total, total if free is None else free)])

    async def get_cert(self, session: Session) -> Response:
        """The certificate authority that this registry made for itself, for clients to trust."""
        place = authority(self._registry)
        if place is None:
            message = "this registry has no certificate authority of its own"
            raise Missing(message)
        try:
            body = await anyio.Path(place).read_bytes()
        except OSError as error:
            message = "the certificate authority cannot be read; tell the operator of this registry"
            raise Missing(message) from error
        headers = [
            ("content-type", "application/x-x509-ca-cert"),
            ("content-disposition", 'attachment; filename="ca.crt"'),
            ("content-length", str(len(body))),
        ]
        return Response(200, headers, body)

    # ---- settings ----

    async def get_configurations(self, session: Session) -> dict[str, documents.SettingValue]:
        """Every declared setting but secrets."""
        return self._shown()

    async def get_internalconfig(self, session: Session) -> dict[str, documents.SettingValue]:
        """The same: here no component lives apart and needs secrets."""
        return self._shown()

    def _shown(self) -> dict[str, documents.SettingValue]:
        settings = self._registry.settings
        editable = not settings.fixed
        return {AUTH_MODE: documents.SettingValue(LOCAL, editable=False)} | {
            name: documents.SettingValue(settings.get(name), editable)
            for name, setting in sorted(settings.declared.items())
            if not setting.secret
        }

    async def update_configurations(self, session: Session, body: dict[str, Any]) -> None:
        """A flat object of settings to be changed, all of them or none; a null leaves one as it is.

        Harbor's names that no plugin declares are left aside: its clients send them with every change.
        """
        values = {name: value for name, value in body.items() if value is not None}
        if not values:
            message = 'send a JSON object of settings, such as {"read_only": true}'
            raise BadRequest(message)
        values = taken(self._registry, values)
        if values:
            await session.change_settings(values)


def external_url(registry: Registry, request: Request) -> str:
    """``scheme://host[:port]`` as clients reach the registry: configured, else as this one did."""
    configured = registry.config.server.external_url
    if configured:
        return str(configured)
    scheme = str(request.scope.get("scheme", "http"))
    host = request.header(b"host") or ""
    return f"{scheme if scheme in {'http', 'https'} else 'http'}://{host if _host.match(host) else 'localhost'}"


def authority(registry: Registry) -> Path | None:
    """Where the certificate authority is that the server made (``[server.tls] self_signed``)."""
    place = registry.config.data / "tls" / "ca.crt"
    return place if registry.config.server.tls.self_signed and place.is_file() else None


def provider(url: str) -> str:
    """Harbor's name for the kind of storage."""
    scheme = url.partition(":")[0]
    return {"fs": "filesystem", "file": "filesystem"}.get(scheme, scheme)


def disk_of(place: Path) -> int:
    """Bytes of the disk that a path, which need not be there, lies on."""
    here = next((each for each in (place, *place.parents) if each.exists()), Path("/"))
    return shutil.disk_usage(here).total
