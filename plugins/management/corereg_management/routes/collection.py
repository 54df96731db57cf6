"""Garbage collection: start, schedule, watch and stop it (Harbor's ``gc``). What it does is the core's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from corereg import (
    Action,
    BadRequest,
    Created,
    Execution,
    Listed,
    Listing,
    Missing,
    Registry,
    Response,
    Route,
    Session,
)
from corereg_management.job_documents import (
    GCHistory,
    GCSchedule,
    ScheduleRequest,
    collection_document,
    collection_schedule,
)
from corereg_management.job_logs import log_of

API = "/api/v2.0/system/gc"
KIND = "GARBAGE_COLLECTION"


class CollectionRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> Sequence[Route]:
        """The table."""
        right = {word: Action("garbage-collection", word) for word in ("create", "read", "update", "list", "stop")}
        return [
            Route("GET", API, self.get_gc_history, right["list"], "List garbage collections.", tag="gc"),
            Route("GET", f"{API}/{{gc_id}}", self.get_gc, right["read"], "Get a garbage collection.", tag="gc"),
            Route("PUT", f"{API}/{{gc_id}}", self.stop_gc, right["stop"], "Stop a garbage collection.", tag="gc"),
            Route(
                "GET", f"{API}/{{gc_id}}/log", self.get_gc_log, right["read"], "Get the log of a garbage collection.",
                tag="gc", produces="text/plain",
            ),
            Route(
                "GET", f"{API}/schedule", self.get_gc_schedule, right["read"], "Get when garbage is collected.",
                tag="gc",
            ),
            Route(
                "POST", f"{API}/schedule", self.create_gc_schedule, right["create"],
                "Collect garbage now, or by a schedule.", tag="gc", errors=(409,),
            ),
            Route(
                "PUT", f"{API}/schedule", self.update_gc_schedule, right["update"], "Change when garbage is collected.",
                tag="gc",
            ),
        ]  # fmt: skip

    # ---- what was ----

    async def get_gc_history(self, session: Session, query: Listing) -> Listed[GCHistory]:
        """The newest first."""
        history = self._registry.history
        executions, total = await history.executions(query, kind=KIND)
        tasks = await history.first_tasks([each.id for each in executions])
        return Listed([collection_document(each, tasks.get(each.id)) for each in executions], total)

    async def get_gc(self, session: Session, gc_id: int) -> GCHistory:
        """With what it freed, once it has ended."""
        execution = await self._collection(gc_id)
        tasks = await self._registry.history.first_tasks([execution.id])
        return collection_document(execution, tasks.get(execution.id))

    async def stop_gc(self, session: Session, gc_id: int) -> None:
        """Within seconds, between two batches: what it has taken is gone, the rest is the next one's."""
        await self._collection(gc_id)
        await session.stop_job(gc_id, needs=Action("garbage-collection", "stop"))

    async def get_gc_log(self, session: Session, gc_id: int) -> Response:
        """Every line with its time."""
        execution = await self._collection(gc_id)
        tasks = await self._registry.history.first_tasks([execution.id])
        return log_of(self._registry, [task.id for task in tasks.values()])

    async def _collection(self, number: int) -> Execution:
        execution = await self._registry.history.execution(number)
        if execution is None or execution.kind != KIND:
            message = f"there is no garbage collection {number}"
            raise Missing(message)
        return execution

    # ---- what shall be ----

    async def get_gc_schedule(self, session: Session) -> GCSchedule:
        """An empty object when garbage is collected only by hand."""
        return collection_schedule(await self._registry.schedules.find(KIND))

    async def create_gc_schedule(self, session: Session, body: ScheduleRequest) -> Created[None]:
        """The Location is that of the collection for `Manual`. While one is under way it is that one."""
        execution = await self._put(session, body, "create")
        return Created("schedule" if execution is None else execution, location=_place(execution))

    async def update_gc_schedule(self, session: Session, body: ScheduleRequest) -> None:
        """`None` takes the schedule away."""
        await self._put(session, body, "update")

    async def _put(self, session: Session, body: ScheduleRequest, word: str) -> int | None:
        """The execution, when it was started now."""
        needs = Action("garbage-collection", word)
        parameters = _parameters(body.parameters)
        if body.schedule.type == "Manual":
            return (await session.start_job(KIND, parameters, needs=needs)).execution_id
        await session.schedule_job(
            KIND, needs=needs, form=body.schedule.type, cron=body.schedule.cron, parameters=parameters
        )
        return None


def _place(execution: int | None) -> str:
    return f"{API}/{'schedule' if execution is None else execution}"


def _parameters(given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Without what an older client still sends and what would change nothing."""
    parameters = dict(given or {})
    if parameters.pop("delete_tag", False) not in (False, "false", None):  # no set: it may be a list
        message = "delete_tag is not what a garbage collection does here: tags are deleted by their own rules"
        raise BadRequest(message)
    return parameters
