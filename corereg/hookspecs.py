"""The hooks, in the order of a request's life.

A plugin is a class or a module with functions marked ``@hookimpl`` that carry these names; it may take fewer arguments
than a hook offers, never others. Nouns are provided at start-up by plain functions; verbs are asked for each request by
``async`` functions. Plugins are asked in the order of ``plugins = [...]`` in the configuration; one that must come
before the others, or after, whatever that order says, marks its function ``@hookimpl(tryfirst=True)`` or ``trylast``.
``None`` means "no opinion", everywhere.

The page docs/hooks.md is made from the docstrings below.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import click
import pluggy

from corereg.access import Grant, Identity, Namespace, Refusal
from corereg.events import Event, Operation
from corereg.findings import Check
from corereg.messages import Request, Route
from corereg.store.database import Transaction
from corereg.store.storage import Storage

if TYPE_CHECKING:  # for the types alone: `corereg --help` must not wait for a database driver
    from corereg.store.jobs import Job
    from corereg.store.schema import Schema
    from corereg.store.settings import Setting

hookspec = pluggy.HookspecMarker("corereg")
hookimpl = pluggy.HookimplMarker("corereg")


@hookspec
def provide_hooks() -> Any:
    """Give further hooks, which this plugin asks and others implement.

    Asked: once, at start-up, before any other hook. The answer is a module or class whose functions are marked with
    ``hookspec``; their owner asks with ``registry.plugins.asked(name)``, others implement them with
    ``@hookimpl(optionalhook=True)``.
    Order: every plugin; two hooks of one name are an error.
    None: no further hooks.
    Raises: anything; the registry does not start and says so.
    Example::

        @hookimpl
        def provide_hooks():
            class Hooks:
                @hookspec
                async def describe_builds(self, artifacts):
                    "Say which build made an artifact, for each of them."

            return Hooks
    """


@hookspec
def provide_storage(url: str) -> Storage | None:
    """Give the storage that serves a URL's scheme.

    Asked: once, at start-up, with ``[storage] url``.
    Order: the first plugin that answers wins.
    None: the URL is not for this plugin. When nobody answers, the registry does not start.
    Raises: anything; the registry does not start and says so.
    Example::

        @hookimpl
        def provide_storage(url):
            if url.startswith("memory:"):
                return FsspecStorage(fsspec.filesystem("memory"), "/corereg")
    """


@hookspec
def provide_schema() -> Schema | None:
    """Give the tables this plugin keeps, and the folder of its migrations, unless they will never change.

    Asked: once, at start-up and by ``corereg db``.
    Order: every plugin, in the order of the configuration, after the core; each has an Alembic line of its own.
    None: no tables.
    Raises: anything; the registry does not start and says so.
    Example::

        @hookimpl
        def provide_schema():
            return Schema("notes", metadata, Path(__file__).with_name("migrations"))
    """


@hookspec
def provide_settings() -> Sequence[Setting[Any]] | None:
    """Declare settings that are changed while the registry runs: name, type, default, what it means, secret or not.

    Asked: once, at start-up.
    Order: every plugin; two settings of one name are an error. Read them with ``registry.settings.get(name)``.
    None: no such settings; what stands in the configuration file is the plugin's `Settings` class.
    Raises: anything; the registry does not start and says so.
    Example::

        @hookimpl
        def provide_settings():
            return [Setting(name="self_registration", type=bool, default=False, description="Anybody may sign up.")]
    """


@hookspec
def provide_routes(registry: Any) -> Sequence[Route] | None:
    """Give the HTTP routes this plugin answers, each with the right it needs.

    Asked: once, at start-up, before `lifespan`.
    Order: every plugin; two routes of one method and path are an error.
    None: no routes.
    Raises: anything; the registry does not start and says so.
    Example::

        @hookimpl
        def provide_routes(registry):
            async def motd(session):
                return {"message": "Maintenance on Sunday"}

            return [Route("GET", "/motd", motd, needs=OPEN)]
    """


@hookspec
def provide_jobs(registry: Any) -> Sequence[Job] | None:
    """Declare the kinds of jobs this plugin has: work that takes long, and that nobody waits for.

    Asked: once, at start-up, before `lifespan`.
    Order: every plugin; two jobs of one kind are an error.
    None: no jobs.
    Raises: anything; the registry does not start and says so.
    Example::

        @hookimpl
        def provide_jobs(registry):
            async def recount(task):
                await task.progress("counting", 1, 1)
                return {"found": 42}

            return [Job(kind="RECOUNT", title="Count everything anew", handler=recount, schedule="0 0 3 * * *")]
    """


@hookspec
def provide_checks(registry: Any) -> Sequence[Check] | None:
    """Give checks for ``corereg doctor``: what this plugin stands on, and what to do where it does not hold.

    Asked: when the doctor has opened the database; no plugin's `lifespan` runs, and nothing may be changed.
    Order: every plugin, after the core's own checks.
    None: nothing to check.
    Raises: anything; the doctor tells which plugin failed. What a check raises is told as a failure.
    Example::

        @hookimpl
        def provide_checks(registry):
            async def look():
                return [Finding("warn", "the moon is full", "wait for two weeks")]

            return [Check("moon", look)]
    """


@hookspec
def provide_commands() -> Sequence[click.Command] | None:
    """Give commands for the ``corereg`` command line.

    Asked: when the command line starts.
    Order: every plugin; two commands of one name are an error.
    None: no commands.
    Raises: anything; the command line says which plugin failed.
    Example::

        @hookimpl
        def provide_commands():
            return [click.Command("hello", callback=lambda: click.echo("hello"))]
    """


@hookspec
def lifespan(registry: Any) -> AbstractAsyncContextManager[None] | None:
    """Do something when the registry opens and undo it when it closes.

    Asked: once per process, after the database is up to date and before the first request.
    Order: entered in the order of the configuration, left in reverse.
    None: nothing to do.
    Raises: anything; the registry does not start, and what was entered is left again.
    Example::

        @hookimpl
        @asynccontextmanager
        async def lifespan(registry):
            print("open")
            yield
            print("closed")
    """


@hookspec
async def identify(request: Request) -> Identity | None:
    """Say who sent a request, by something other than a bearer token or a password.

    Asked: for each request without an ``Authorization`` header, or with one the core does not know; at the token
    endpoint too.
    Order: the first plugin that answers wins.
    None: not known to this plugin; when nobody answers, the request is anonymous.
    Raises: `Unauthorized` rejects the request; anything else rejects it too and is logged.
    Example::

        @hookimpl
        async def identify(request):
            if request.headers.get("x-build-agent") == "7":
                return Identity(name="agent-7", subject="robot:agent-7", kind="robot")
    """


@hookspec
async def check_password(name: str, password: str, address: str | None) -> Identity | None:
    """Say who somebody is, by name and password; `address` is where the request comes from, as far as it is believed.

    Asked: by ``docker login`` and whenever a request brings Basic credentials that are not cached. Never on a pull with
    a token.
    Order: the first plugin that answers wins.
    None: this plugin does not know the name, or the password is wrong. Take the same time for both.
    Raises: `Unauthorized` rejects at once and its sentence is shown (a disabled account); anything else rejects and is
    logged.
    Example::

        @hookimpl
        async def check_password(name, password):
            if name == "ci" and secrets.compare_digest(password, os.environ["CI_SECRET"]):
                return Identity(name="ci", subject="robot:ci", kind="robot")
    """


@hookspec
async def complete_identity(identity: Identity) -> Identity | None:
    """Add what this plugin knows about somebody: groups, whether an administrator.

    Asked: once per sign-in, and again when the subject's rights have changed since.
    Order: every plugin, in order; each gets what the one before it returned.
    None: nothing to add.
    Raises: `Unauthorized` when the identity may not sign in any more; anything else rejects and is logged.
    Example::

        @hookimpl
        async def complete_identity(identity):
            if identity.name in {"ops", "root"}:
                return msgspec.structs.replace(identity, administrator=True)
    """


@hookspec
async def resolve_namespace(reference: int | str) -> Namespace | None:
    """Say which namespace a number or a name means.

    Asked: for each request to a route with a ``{namespace}`` segment, and for the namespace a repository stands in
    (``registry.plugins.namespace_of``); keep it to one indexed look-up. Also inside changes: ask
    the database's ``reader``, which then is the transaction that is open.
    Order: the first plugin that answers wins.
    None: there is no such namespace here; when nobody answers, the caller hears that it is not there, or may not know.
    Raises: anything; the request fails and the error is logged.
    Example::

        @hookimpl
        async def resolve_namespace(reference):
            if reference in {1, "library"}:
                return Namespace(1, "library")
    """


@hookspec
async def grants(identity: Identity) -> Iterable[Grant] | None:
    """Say what somebody may do.

    Asked: when a token or a session is made, and again when the subject's rights have changed since; also for
    `ANONYMOUS`.
    Order: every plugin; the grants of all are a union.
    None: no grants.
    Raises: anything; then nothing is granted at all, the request is refused and the error logged.
    Example::

        @hookimpl
        async def grants(identity):
            if not identity.anonymous:
                return [Grant("demo/*", "repository", frozenset({"pull"}))]
    """


@hookspec
async def admit(operation: Operation) -> Refusal | None:
    """Refuse an operation by a policy of yours, before anything is written.

    Asked: for each push, pull, mount and delete, after the rights were checked and before the transaction. May be slow.
    Order: the first refusal ends it.
    None: no objection.
    Raises: anything refuses the operation (a policy that fails, fails closed) and is logged; raise an `OCIError` to
    choose status and code yourself.
    Example::

        @hookimpl
        async def admit(operation):
            if operation.kind == "manifest.push" and "latest" in operation.tags:
                return Refusal("push a version, not latest")
    """


@hookspec
async def commit(operation: Operation, tx: Transaction) -> Refusal | None:
    """Count or refuse an operation inside its own transaction.

    Asked: for each change, after it was written and before it is committed; use `tx` alone, nothing slow: others wait.
    What all plugins do about one operation ends after 30 seconds; the change is rolled back, the client hears 503, and
    the log names the plugin.
    Order: the first refusal rolls everything back.
    None: no objection.
    Raises: anything rolls back and refuses; logged.
    Example::

        @hookimpl
        async def commit(operation, tx):
            if operation.kind == "manifest.push":
                await tx.execute(update(counters).values(pushes=counters.c.pushes + 1))
    """


@hookspec
async def observe(event: Event) -> None:
    """Hear of what has happened.

    Asked: after the commit, from the journal, in order, at least once; never in the way of a client.
    Order: every plugin at its own pace, each with its own cursor.
    None: the only answer.
    Raises: anything; the event is told again after a growing pause.
    Example::

        @hookimpl
        async def observe(event):
            print(event.serial, event.actor, event.kind, event.repository)
    """
