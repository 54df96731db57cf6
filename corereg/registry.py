"""The Registry: builds the house from a Config, opens and closes it, gives out sessions."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext, suppress
from importlib.metadata import version
from typing import Any, Self

import msgspec

from corereg.access import EVERYTHING, SYSTEM, Grant, Identity
from corereg.config import Config, ConfigError
from corereg.config.problems import problem
from corereg.metrics import Metrics
from corereg.oci.errors import OCIError
from corereg.plugins import PluginError, Plugins, default_names, load
from corereg.runner import Runner
from corereg.session import CollectOptions, House, Session
from corereg.signin import SignIn
from corereg.store.catalog import Catalog
from corereg.store.condemned import Condemned
from corereg.store.database import Database, DatabaseError
from corereg.store.engines import connect
from corereg.store.jobs import Failed, History, Job, Queue, Schedules, Task
from corereg.store.journal import Journal
from corereg.store.keys import Keys
from corereg.store.measured import measure
from corereg.store.nodes import Nodes
from corereg.store.revisions import Version
from corereg.store.rights import KEYS, Rights
from corereg.store.schema import CORE, Schema, upgrade, versions
from corereg.store.settings import SUBJECT as SETTINGS
from corereg.store.settings import Settings
from corereg.store.storage import Storage, StorageError
from corereg.store.trash import Trash
from corereg.store.unfinished import check_finished
from corereg.store.uploads import Uploads
from corereg.store.work import Stopped
from corereg.tokens import Tokens
from corereg.tracing import Tracer, tracer

log = logging.getLogger(__name__)


@contextmanager
def _given(config: Config, *key: str) -> Generator[None]:
    """What is wrong with the value of a key is told with the place where the value was given. Raises ConfigError."""
    try:
        yield
    except (PluginError, DatabaseError) as error:
        if key not in config.origins:
            raise
        raise ConfigError([problem(key, f"{'.'.join(key)}: {error}", config.origins)]) from error


def _ended(task: asyncio.Task[None]) -> None:
    """Background work goes on until it is cancelled; when it ends otherwise, somebody must hear of it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error(
            "%s: this work in the background has failed, and goes on after a restart", task.get_name(), exc_info=error
        )


class Registry:
    """One registry. Several may live in one process; each has its own plugins, database and storage.

    `plugins` replaces what the config names: names of installed plugins, paths of Python files, classes, instances or
    modules. Use it as ``async with Registry(config) as registry:``, in the event loop that serves it.

    Making one reads the plugins and checks them (PluginError, ConfigError); opening it touches database and storage.
    """

    def __init__(self, config: Config | None = None, plugins: Sequence[object] | None = None) -> None:
        self.config = config = config or Config()
        self.metrics = Metrics(version("corereg"))
        self.tracer: Tracer = tracer(config.tracing, version("corereg"), config.origins)
        wanted: Sequence[object] = plugins if plugins is not None else (config.plugins or ())
        if plugins is None and config.plugins is None:
            wanted = default_names()
        with _given(config, "plugins") if plugins is None else nullcontext():
            self.plugins: Plugins = load(wanted, config.tables)
        config.check_tables(each.name for each in self.plugins)
        with _given(config, "database", "url"):
            self.database: Database = connect(config.database_url, config.database)
        self.database.measure(self.metrics, self.tracer)
        with _given(config, "storage", "url"):
            self.storage: Storage = self.plugins.storage(config.storage_url)
        measure(self.storage, self.metrics, self.tracer)
        self.schemas: list[Schema] = [CORE, *self.plugins.schemas()]
        self.tokens = Tokens(
            issuer=config.tokens.issuer,
            service=config.tokens.service,
            lifetime=config.tokens.lifetime,
            leeway=config.tokens.leeway,
        )
        kept, grace = config.gc.kept, config.gc.grace
        self.catalog = Catalog(self.database, kept=max(0, kept - grace), grace=grace)
        self.uploads = Uploads(
            self.database,
            self.storage,
            lease=config.uploads.lease,
            expire=config.uploads.expire,
            limit=config.uploads.size_limit,
        )
        self.journal = Journal(self.database, batch=config.journal.batch, keep=config.journal.keep)
        self.rights = Rights(self.database)
        self.keys = Keys(self.database, self.tokens, rotate=config.tokens.rotate)
        self.signin = SignIn(
            self.plugins,
            self.rights,
            self.journal,
            failures=config.signin.failures,
            window=config.signin.window,
            metrics=self.metrics,
        )
        self.settings = Settings(self.database, self.plugins.settings(), fixed=config.fixed)
        self.jobs: dict[str, Job] = {}
        """Every declared kind of job."""
        self.queue = Queue(self.database, lease=config.jobs.lease)
        self.schedules = Schedules(self.database)
        self.history = History(self.database, keep=config.jobs.keep)
        self.house = House(
            database=self.database,
            storage=self.storage,
            catalog=self.catalog,
            uploads=self.uploads,
            journal=self.journal,
            rights=self.rights,
            plugins=self.plugins,
            protocol=config.protocol,
            settings=self.settings,
            jobs=self.jobs,
            queue=self.queue,
            schedules=self.schedules,
            history=self.history,
            gc=config.gc,
            condemned=Condemned(self.database, self.storage),
            trash=Trash(self.database),
            metrics=self.metrics,
            tracer=self.tracer,
        )
        self.nodes = Nodes(self.database, version=version("corereg"), slots=config.jobs.slots)
        self.runner = Runner(self.house, self.nodes, self.session, slots=config.jobs.slots)
        self.queue.wake = self.runner.wake
        self._declare_jobs()
        self.routes = self.plugins.routes(self)
        self._open = AsyncExitStack()
        self._background: list[asyncio.Task[None]] = []

    def _declare_jobs(self) -> None:
        housekeeping = Job(
            kind="HOUSEKEEPING",
            title="Drop what has expired",
            handler=self._keep_house,
            single=True,
            schedule="0 7 * * * *",
            keep=10,
            quiet=True,
        )
        collection = Job(
            kind="GARBAGE_COLLECTION",
            title="Take back what nothing needs",
            handler=self._collect,
            single=True,
            parameters=CollectOptions,
        )
        owners: dict[str, str] = {}
        for owner, job in [("the core", housekeeping), ("the core", collection), *self.plugins.jobs(self)]:
            if job.kind in owners:
                message = f"{owners[job.kind]} and {owner} both declare a job {job.kind}; rename one"
                raise PluginError(message)
            owners[job.kind] = owner
            self.jobs[job.kind] = msgspec.structs.replace(job, handler=self._measured(job))

    def _measured(self, job: Job) -> Callable[[Task], Awaitable[Mapping[str, Any] | None]]:
        """The job's handler, which is counted, timed and traced."""
        metrics, kind, handler = self.metrics, job.kind, job.handler

        async def measured(task: Task) -> Mapping[str, Any] | None:
            outcome = "failed"
            begun = time.perf_counter()
            metrics.jobs_running.add(kind)
            try:
                with self.tracer.root(f"job {kind}", {}):
                    done = await handler(task)
                outcome = "done"
            except (Stopped, asyncio.CancelledError):
                outcome = "stopped"
                raise
            finally:
                metrics.jobs_running.add(kind, by=-1)
                metrics.jobs.observe(time.perf_counter() - begun, kind, outcome)
            return done

        return measured

    # ---- open and close ----

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, *, background: bool = True) -> None:
        """Bring the tables up to date, open storage and plugins, start delivering the journal.

        `background=False` leaves out delivery and jobs: for a command that is done in a moment.
        """
        self._make_folder()
        try:
            await self._open_store()
            await self.journal.register(self.plugins.observers())
            await self.schedules.declare(self.jobs.values())
            for each in self.plugins.lifespans(self):
                await self._open.enter_async_context(each)
        except BaseException:
            await self._open.aclose()
            raise
        if background:
            self.tracer.open()
            self._background = [
                asyncio.create_task(self.journal.run(self.plugins.observers()), name="corereg journal"),
                asyncio.create_task(self.runner.run(), name="corereg jobs"),
            ]
            for task in self._background:
                task.add_done_callback(_ended)

    def _make_folder(self) -> None:
        if self.config.database.url is None or self.config.storage.url is None:
            self.config.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def _open_store(self) -> None:
        await self.database.open()
        self._open.push_async_callback(self.database.close)
        await check_finished(self.database)
        await upgrade(self.database, self.schemas)
        await self.storage.open()
        self._open.push_async_callback(self.storage.close)
        self._open.callback(self.uploads.close)
        self.rights.on_change = {KEYS: self.keys.reload, SETTINGS: self.settings.reload}
        await self.keys.load()
        await self.settings.reload()
        await self.rights.refresh(now=True)

    async def drain(self) -> None:
        """This process is about to end: its jobs go on elsewhere, at once. Requests are answered until it is closed."""
        await self.runner.drain()

    async def close(self) -> None:
        """Stop the background work, write what the journal gathered, leave the plugins, close storage and database.

        Nothing stays open because something else failed.
        """
        try:
            for task in self._background:
                task.cancel()
            for task in self._background:
                with suppress(asyncio.CancelledError, Exception):  # `_ended` tells of it
                    await task
            self._background = []
            try:
                await self.journal.flush()
            except Exception:
                log.exception("what the journal gathered could not be written")
        finally:
            try:
                await self._open.aclose()
            finally:
                if self.tracer.on:
                    await asyncio.to_thread(self.tracer.close)

    async def schema_versions(self) -> list[Version]:
        """Where the tables of core and plugins stand, without changing them."""
        self._make_folder()
        await self.database.open()
        try:
            return await versions(self.database, self.schemas)
        finally:
            await self.database.close()

    async def _keep_house(self, task: Task) -> dict[str, int]:
        """Drop what has expired, and sign with a new key when it is time. What fails does not keep the rest from it."""
        dropped: dict[str, int] = {}
        failed: list[str] = []

        async def uploads() -> None:
            purged = await self.uploads.purge()
            dropped["uploads"] = purged.dropped
            if purged.left:
                task.log(f"the bytes of {purged.left} uploads could not be removed: the server's log names them")

        async def events() -> None:
            dropped["events"] = await self.journal.prune()

        async def executions() -> None:
            dropped["executions"] = await self.history.prune(self.jobs)

        async def keys() -> None:
            if await self.keys.due():
                await self.rotate_keys()
                task.log("tokens are signed with a new key from now on")

        for part in (uploads, events, executions, keys):
            try:
                await part()
            except Exception as error:
                expected = isinstance(error, DatabaseError | StorageError | OCIError)
                log.warning("housekeeping, %s: %s", part.__name__, error, exc_info=not expected)
                failed.append(f"{part.__name__}: {error if expected else f'{type(error).__name__}: {error}'}")
        told = ", ".join(f"{count} {what}" for what, count in dropped.items())
        task.log(f"dropped what had expired: {told or 'nothing'}")
        if failed:
            raise Failed("; ".join(failed))
        return dropped

    async def _collect(self, task: Task) -> dict[str, Any]:
        """Garbage collection, with the options of `CollectOptions` as parameters."""
        try:
            options = msgspec.convert(task.parameters, CollectOptions, strict=False)
        except msgspec.ValidationError as error:
            raise Failed(str(error), again=False) from None
        collected: dict[str, Any] = msgspec.to_builtins(await self.session().collect(task, options))
        return collected

    async def ready(self) -> bool:
        """Whether the database answers."""
        try:
            await self.rights.refresh(now=True)
        except DatabaseError:
            return False
        return True

    # ---- sessions ----

    def session(
        self,
        identity: Identity = SYSTEM,
        *,
        grants: Sequence[Grant] = (),
        address: str | None = None,
        serial: int | None = None,
    ) -> Session:
        """A session with just these grants; that of `SYSTEM`, the registry's own, may do everything.

        `serial` is that of the sign-in the identity comes from (see `Session.confirm`).
        """
        rights = (EVERYTHING,) if identity is SYSTEM else tuple(grants)
        return Session(self.house, identity, rights, address=address, serial=serial)

    async def session_for(
        self, identity: Identity, *, address: str | None = None, serial: int | None = None
    ) -> Session:
        """A session with all that the plugins grant to somebody who was identified by other means."""
        identity = await self.plugins.complete_identity(identity)
        grants = await self.plugins.grants(identity)
        return Session(self.house, identity, grants, address=address, whole=True, serial=serial)

    async def rotate_keys(self, session: Session | None = None, *, forget: bool = False) -> str:
        """Sign tokens with a new key from now on, on every node within seconds; its id.

        Tokens of the old ones are believed until they end; with `forget`, because a key leaked, not at all.
        """
        session = session or self.session()
        async with session.change(session.operation("keys.rotate", details={"forget": forget})) as change:
            key = await self.keys.rotate_in(change.tx, forget=forget)
            change.details["key"] = key
            (change.revoke if forget else change.rights_changed)(KEYS)
        return key

    def describe(self) -> dict[str, Any]:
        """What start-up prints: places and plugins, without secrets."""
        return {
            "database": self.database.describe(),
            "storage": self.config.storage_url.split("?", 1)[0],
            "plugins": [each.name for each in self.plugins],
            "process": os.getpid(),
        }
