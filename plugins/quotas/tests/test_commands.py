"""``corereg quota reconcile``, as the command line calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from corereg import Action, Registry
from corereg_quotas import Quotas
from corereg_quotas.schema import counters

from .stage import Projects, push_blob

Corereg = Callable[..., Result]


@pytest.fixture
def run(make_registry: Callable[..., Registry]) -> Callable[[Callable[[Registry], Awaitable[Any]]], Any]:
    """Do something with the registry, as `corereg.cli` does: opened for it and closed again."""

    def run(work: Callable[[Registry], Awaitable[Any]]) -> Any:
        async def opened() -> Any:
            registry = make_registry()
            await registry.open(background=False)
            try:
                return await work(registry)
            finally:
                await registry.close()

        return asyncio.run(opened())

    return run


@pytest.fixture
def corereg(run: Any) -> Corereg:
    (quota,) = Quotas().provide_commands()

    class Place:
        """What stands in a command's context."""

        def run(self, work: Callable[[Registry], Awaitable[Any]]) -> Any:
            return run(work)

    return lambda *arguments: CliRunner().invoke(quota, arguments, obj=Place())


def test_nothing_to_do(run: Any, corereg: Corereg, projects: Projects) -> None:
    async def push(registry: Registry) -> None:
        await projects.create(registry, "demo")
        await push_blob(registry.session(), "demo/app", b"x")

    run(push)
    for options in ([], ["--check"]):
        done = corereg("reconcile", *options)
        assert (done.exit_code, done.stdout) == (0, "every namespace is counted right\n")


def test_the_job_mends_what_somebody_changed_by_hand(
    run: Any, corereg: Corereg, projects: Projects, make_registry: Callable[..., Registry]
) -> None:
    async def spoil(registry: Registry) -> None:
        await projects.create(registry, "demo")
        await push_blob(registry.session(), "demo/app", b"x")
        async with registry.database.transaction() as tx:
            await tx.execute(sa.update(counters).where(counters.c.namespace == "demo").values(used=7))

    async def refreshed(parameters: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        async with make_registry() as registry:
            started = await registry.session().start_job("QUOTA_REFRESH", parameters, needs=Action("quota", "update"))
            with anyio.fail_after(30):
                while True:
                    task = (await registry.history.first_tasks([started.execution_id]))[started.execution_id]
                    if task.status in {"Success", "Error", "Stopped"}:
                        break
                    await anyio.sleep(0.02)
            return task.result, [line.line for line in await registry.history.log(task.id)]

    run(spoil)
    result, said = asyncio.run(refreshed({"check": True}))
    assert result == {"wrong": 1, "mended": 0}
    assert said == ["demo is counted with 7 bytes, and holds 1 bytes", "1 counters are wrong"]
    assert corereg("reconcile", "--check").exit_code == 9, "it was only looked at"
    assert asyncio.run(refreshed({}))[0] == {"wrong": 1, "mended": 1}
    assert corereg("reconcile", "--check").exit_code == 0


def test_counters_that_somebody_changed_by_hand(run: Any, corereg: Corereg, projects: Projects) -> None:
    async def spoil(registry: Registry) -> None:
        for name in ("demo", "lost", "fine"):
            await projects.create(registry, name)
            await push_blob(registry.session(), f"{name}/app", b"x")
        async with registry.database.transaction() as tx:
            await tx.execute(sa.update(counters).where(counters.c.namespace == "demo").values(used=7))
            await tx.execute(sa.delete(counters).where(counters.c.namespace == "lost"))
            ghost = {"namespace_id": 99, "namespace": "ghost", "hard": -1, "used": 3, "warned": 0}
            await tx.execute(sa.insert(counters).values(**ghost, created_at=1, updated_at=1))

    run(spoil)
    said = [
        "ghost is counted with 3 bytes, and is not there any more",
        "lost is not counted, and holds 1 bytes",
        "demo is counted with 7 bytes, and holds 1 bytes",
    ]
    for _ in range(2):
        done = corereg("reconcile", "--check")
        assert done.exit_code == 9
        assert done.stdout.splitlines() == said
        assert "3 counters are wrong; `corereg quota reconcile` mends them" in done.stderr
    done = corereg("reconcile")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [*said, "mended 3 counters"]
    assert corereg("reconcile", "--check").exit_code == 0
    assert corereg("reconcile").stdout == "every namespace is counted right\n"
