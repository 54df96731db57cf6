"""From what is declared to what must be done: look at the registry, plan, do it step by step.

The plan is made before anything is changed. Each step looks again where it must, so that a plan that stopped half-way
can be made and run anew.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from corereg import remote
from corereg_management.declaration import Document, Label, Member, Project, Robot

Action = Literal["create", "update", "delete"]
READ_ONLY = "read_only"
SIGNS: Mapping[Action, str] = {"create": "+", "update": "~", "delete": "-"}


class Step(msgspec.Struct, frozen=True):
    """One change: what it does to what, in words, and the function that does it."""

    action: Action
    kind: str
    name: str
    do: Callable[[], object]
    changes: tuple[str, ...] = ()

    def line(self) -> str:
        """``~ project demo  public: true -> false``."""
        changes = "".join(f"  {change}" for change in self.changes)
        return f"{SIGNS[self.action]} {self.kind} {self.name}{changes}"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {"action": self.action, "kind": self.kind, "name": self.name, "changes": list(self.changes)}


class Secrets:
    """The file that secrets of new robots are written to, one by one as they are made; mode 0600."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, str] = {}

    def open(self) -> None:
        """Look whether it can be used, before anything is changed. Raises Misuse."""
        if self.path is None:
            message = "robots will be made, and their secrets are shown once: say where to write them"
            raise remote.Misuse(message, hint="Use --secrets-file FILE; it is written for you alone (mode 0600).")
        try:
            if self.path.exists():
                if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
                    message = f"{self.path} can be read by others"
                    raise remote.Misuse(message, hint=f"Run: chmod 600 {self.path}")
                self._known = msgspec.json.decode(self.path.read_bytes(), type=dict[str, str])
            self._write()
        except (OSError, msgspec.MsgspecError) as error:
            message = f"{self.path} cannot be used for secrets: {error}"
            raise remote.Misuse(message) from error

    def keep(self, name: str, secret: str) -> None:
        """Write one more."""
        self._known[name] = secret
        self._write()

    def _write(self) -> None:
        assert self.path is not None  # noqa: S101 - `open` has looked
        text = msgspec.json.format(msgspec.json.encode(self._known), indent=2) + b"\n"
        remote.write_whole(self.path, text, 0o600)


class Plan:
    """The steps, in the order they are done in, and how much is as it should be."""

    def __init__(self, api: remote.API, document: Document, secrets: Secrets, *, prune: bool) -> None:
        self.api = api
        self.document = document
        self.secrets = secrets
        self.prune = prune
        self.unchanged = 0
        self.beside = 0
        """Things that are there and not declared; with `prune` they are deleted."""
        self._late: list[Step] = []
        self._look = Look(api)
        self.steps: list[Step] = [*self._all(), *reversed(self._late)]

    @property
    def makes_robots(self) -> bool:
        """Whether there will be secrets."""
        return any(step.kind == "robot" and step.action == "create" for step in self.steps)

    def _all(self) -> Iterator[Step]:
        if self.document.settings is not None:
            yield from self._settings(self.document.settings)
        if self.document.labels is not None:
            yield from self._labels(self.document.labels, self._look.labels(None), None)
        if self.document.projects is not None:
            yield from self._projects(self.document.projects)
        if self.document.robots is not None:
            yield from self._robots(self.document.robots)

    # ---- settings ----

    def _settings(self, wanted: Mapping[str, Any]) -> Iterator[Step]:
        there = self._look.settings()
        for name, value in wanted.items():
            remote.found(({"name": each} for each in there), "name", name, "setting")
            now = there[name].get("value")
            if now == value:
                self.unchanged += 1
                continue
            change = f"{remote.plain(now)} -> {remote.plain(value)}"
            step = Step("update", "setting", name, self._put("/configurations", {name: value}), (change,))
            if name == READ_ONLY and value:
                self._late.insert(0, step)  # the last of all: after it nothing can be changed
            else:
                yield step

    def _put(self, path: str, body: Any) -> Callable[[], object]:
        return partial(self.api.put, path, body)

    # ---- labels ----

    def _labels(self, wanted: Sequence[Label], there: Mapping[str, remote.Item], project: str | None) -> Iterator[Step]:
        names = set()
        for label in wanted:
            names.add(label.name)
            called = f"{project}/{label.name}" if project else label.name
            now = there.get(label.name)
            fields = {"color": label.color, "description": label.description}
            if now is None:
                yield Step("create", "label", called, partial(self._make_label, label, project))
                continue
            changes = _changes({key: now.get(key) or "" for key in fields}, fields)
            if changes:
                body = {
                    key: now[key] for key in ("name", "color", "description", "scope", "project_id") if now.get(key)
                }
                body |= {key: value for key, value in fields.items() if value is not None}
                yield Step("update", "label", called, self._put(remote.path_of("labels", now["id"]), body), changes)
            else:
                self.unchanged += 1
        for name in there.keys() - names:
            called = f"{project}/{name}" if project else name
            self._surplus(Step("delete", "label", called, self._delete("labels", there[name]["id"])))

    def _make_label(self, label: Label, project: str | None) -> None:
        scope = {"scope": "g"} if project is None else {"scope": "p", "project_id": self._look.project_id(project)}
        self.api.created("/labels", {**msgspec.to_builtins(label), **scope})

    def _delete(self, *path: str | int) -> Callable[[], object]:
        return partial(self.api.delete, remote.path_of(*path))

    def _surplus(self, step: Step) -> None:
        if self.prune:
            self._late.append(step)
        else:
            self.beside += 1

    # ---- projects ----

    def _projects(self, wanted: Sequence[Project]) -> Iterator[Step]:
        names = {project.name for project in wanted}
        for project in wanted:
            now = self._look.project(project.name)
            yield from self._new(project) if now is None else self._changed(project, now)
        for each in self._look.projects():
            name = str(each["name"])
            if name in names:
                continue
            if self.prune and each.get("repo_count"):
                message = f"the project {name} is not declared and holds {each['repo_count']} repositories"
                hint = f"Declare it, or delete it yourself: corereg project delete {name} --recursive"
                raise remote.InTheWay(message, hint=hint)
            self._surplus(Step("delete", "project", name, self._delete("projects", name)))

    def _new(self, project: Project) -> Iterator[Step]:
        metadata = {"public": "false", **project.wanted()}
        body: dict[str, Any] = {"project_name": project.name, "metadata": metadata}
        changes = [f"{key}: {value}" for key, value in metadata.items()]
        if project.storage is not None:
            body["storage_limit"] = remote.limit(project.storage)
            changes.append(f"storage: {project.storage}")
        yield Step("create", "project", project.name, partial(self.api.created, "/projects", body), tuple(changes))
        for member in project.members or ():
            yield self._member_step("create", project.name, member, f"role: {member.role}")
        yield from self._labels(project.labels or (), {}, project.name)

    def _changed(self, project: Project, now: remote.Item) -> Iterator[Step]:
        there = now.get("metadata") or {}
        wanted = project.wanted()
        changes = _changes(
            {key: there.get(key, "false" if value == "false" else "") for key, value in wanted.items()}, wanted
        )
        if changes:
            put = self._put(remote.path_of("projects", project.name), {"metadata": wanted})
            yield Step("update", "project", project.name, put, changes)
        else:
            self.unchanged += 1
        if project.storage is not None:
            yield from self._quota(project, now["project_id"])
        if project.members is not None:
            yield from self._members(project.name, project.members, owner=str(now.get("owner_name")))
        if project.labels is not None:
            yield from self._labels(project.labels, self._look.labels(now["project_id"]), project.name)

    def _quota(self, project: Project, number: int) -> Iterator[Step]:
        quota = self._look.quota(number)
        if quota is None:
            message = f"the storage of {project.name} cannot be limited: this registry keeps no quotas"
            raise remote.Misuse(message)
        hard, now = remote.limit(str(project.storage)), quota.get("hard", {}).get("storage", -1)
        if hard == now:
            self.unchanged += 1
            return
        put = self._put(remote.path_of("quotas", quota["id"]), {"hard": {"storage": hard}})
        yield Step("update", "quota", project.name, put, (f"storage: {remote.size(now)} -> {remote.size(hard)}",))

    def _members(self, project: str, wanted: Sequence[Member], *, owner: str) -> Iterator[Step]:
        there = self._look.members(project)
        declared = {member.key for member in wanted}
        for member in wanted:
            now = there.get(member.key)
            if now is None:
                yield self._member_step("create", project, member, f"role: {member.role}")
            elif now.get("role_id") != remote.role_number(member.role):
                change = f"role: {remote.role_word(now.get('role_id'))} -> {member.role}"
                yield self._member_step("update", project, member, change)
            else:
                self.unchanged += 1
        for key, now in there.items():
            name = key[1]
            if key not in declared and key != ("u", owner, ""):  # an owner never loses the project
                step = Step(
                    "delete", "member", f"{project}/{name}", self._delete("projects", project, "members", now["id"])
                )
                self._surplus(step)

    def _member_step(self, action: Action, project: str, member: Member, change: str) -> Step:
        return Step(action, "member", f"{project}/{member.name}", partial(self._set_member, project, member), (change,))

    def _set_member(self, project: str, member: Member) -> None:
        """Whoever makes a project is a member of it at once, so look before adding."""
        role = {"role_id": remote.role_number(member.role)}
        now = self._look.members(project).get(member.key)
        path = remote.path_of("projects", project, "members")
        if now is not None:
            self.api.put(f"{path}/{now['id']}", role)
            return
        who = (
            {"member_user": {"username": member.user}}
            if member.user
            else {"member_group": {"group_name": member.group}}
        )
        self.api.created(path, {**role, **who, **({"pattern": member.pattern} if member.pattern else {})})

    # ---- robots ----

    def _robots(self, wanted: Sequence[Robot]) -> Iterator[Step]:
        projects = {robot.project for robot in wanted if robot.project} | {
            project.name for project in self.document.projects or ()
        }
        declared = set()
        for robot in wanted:
            now = self._look.robot(robot.name, robot.project)
            if now is None:
                rights = (f"allow: {' '.join(_words(robot.rights()))}", f"expires: {robot.expires}")
                yield Step("create", "robot", _called(robot), partial(self._make_robot, robot), rights)
            else:
                declared.add(now["id"])
                yield from self._changed_robot(robot, now)
        for place in (None, *sorted(projects)):
            for now in self._look.robots(place):
                if now["id"] not in declared:
                    self._surplus(Step("delete", "robot", str(now["name"]), self._delete("robots", now["id"])))

    def _body(self, robot: Robot) -> dict[str, Any]:
        return {
            "name": robot.name,
            "description": robot.description,
            "duration": remote.days(robot.expires),
            "level": "project" if robot.project else "system",
            "disable": robot.disabled,
            "permissions": robot.rights(),
        }

    def _make_robot(self, robot: Robot) -> None:
        made = self.api.post("/robots", self._body(robot))
        self.secrets.keep(str(made["name"]), str(made["secret"]))

    def _changed_robot(self, robot: Robot, now: remote.Item) -> Iterator[Step]:
        seen = {
            "description": now.get("description") or "",
            "disabled": bool(now.get("disable")),
            "expires": expiry(now.get("duration")),
            "allow": _words(now.get("permissions") or ()),
        }
        wanted = {
            "description": robot.description,
            "disabled": robot.disabled,
            "expires": expiry(remote.days(robot.expires)),
            "allow": _words(robot.rights()),
        }
        changes = _changes(seen, wanted)
        if not changes:
            self.unchanged += 1
            return
        body = {**self._body(robot), "id": now["id"], "name": now["name"]}
        yield Step("update", "robot", _called(robot), self._put(remote.path_of("robots", now["id"]), body), changes)


def _called(robot: Robot) -> str:
    return f"{robot.project}/{robot.name}" if robot.project else robot.name


def _words(permissions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rights in one order: ``demo:repository:pull``."""
    return sorted(
        f"{each.get('namespace')}:{access.get('resource')}:{access.get('action')}"
        for each in permissions
        for access in each.get("access") or ()
    )


def _changes(seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """``public: true -> false`` for each value that is wanted and differs."""
    return tuple(
        f"{key}: {_said(seen.get(key))} -> {_said(value)}"
        for key, value in wanted.items()
        if value is not None and value != seen.get(key)
    )


def _said(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else remote.plain(value) or "nothing"


def expiry(days: Any) -> str:
    """Days as a document writes them: ``90d``, ``never``."""
    return "never" if days is None or days < 0 else f"{days}d"


class Look:
    """What is on the registry. Nothing is remembered: a step may look at what an earlier one has made."""

    def __init__(self, api: remote.API) -> None:
        self.api = api

    def settings(self) -> dict[str, dict[str, Any]]:
        """By name: value, and whether it may be changed."""
        found: dict[str, dict[str, Any]] = self.api.get("/configurations")
        return dict(sorted(found.items()))

    def projects(self) -> Iterator[remote.Item]:
        """Every project."""
        return self.api.listed("/projects", sort="name")

    def project(self, name: str) -> remote.Item | None:
        """The project of that name."""
        try:
            found: remote.Item = self.api.get(remote.path_of("projects", name))
        except remote.NotFound:
            return None
        return found

    def project_id(self, name: str) -> int:
        """The number of a project that is there."""
        return int(self.api.get(remote.path_of("projects", name))["project_id"])

    def members(self, project: str) -> dict[tuple[str, str, str], remote.Item]:
        """By kind (``u``, ``g``), name, and the part of the project the role holds in."""
        found = self.api.listed(remote.path_of("projects", project, "members"))
        return {
            (str(each.get("entity_type")), str(each.get("entity_name")), str(each.get("pattern") or "")): each
            for each in found
        }

    def quota(self, project_id: int) -> remote.Item | None:
        """The quota of a project."""
        return next(self.api.listed("/quotas", reference="project", reference_id=project_id), None)

    def labels(self, project_id: int | None) -> dict[str, remote.Item]:
        """By name: a project's, or the global ones."""
        scope = {"scope": "g"} if project_id is None else {"scope": "p", "project_id": project_id}
        return {str(each["name"]): each for each in self.api.listed("/labels", **scope)}

    def robot(self, name: str, project: str | None) -> remote.Item | None:
        """The robot that was made with that name."""
        if project is not None and self.project(project) is None:
            return None
        return remote.robot_named(self.api, name, project)

    def robots(self, project: str | None) -> Iterator[remote.Item]:
        """A project's, or the system's."""
        if project is not None and self.project(project) is None:
            return
        yield from self.api.listed("/robots", q=remote.robots_of(self.api, project))
