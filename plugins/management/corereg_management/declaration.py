"""What ``corereg apply`` reads and ``corereg export-config`` writes: YAML or JSON with four keys.

    settings:                  # any setting of `corereg settings list`
      self_registration: false
    labels:                    # global ones
      - {name: reviewed, color: "#0065ab", description: Somebody looked}
    projects:
      - name: demo
        public: false
        storage: 10GiB         # or unlimited
        metadata: {auto_scan: true}
        members:
          - {user: alice, role: developer}
          - {group: builders, role: guest}
        labels:
          - name: stable
    robots:
      - name: ci               # a robot of one project
        project: demo
        allow: [push, "tag:delete"]
        expires: 90d
      - name: deploy           # a robot of the system
        permissions:
          - {project: "*", allow: [pull]}
          - {system: true, allow: ["project:list"]}

What is not written is not touched: a key that is left out, a list that is left out, whatever a list does not name
(unless ``--prune`` is given).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from corereg import remote

SUFFIXES = {".yaml", ".yml", ".json"}
EXPIRES = "30d"
"""When a robot ends that says nothing about it."""

_STEPS = re.compile(r"\.(\w+)|\[(\d+)\]")
Thing = TypeVar("Thing")


class _Declared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is written; what is not written stays out of the print, too."""


class Label(_Declared, frozen=True, kw_only=True):
    """A label; of the registry, or of the project it stands in."""

    name: str
    color: str | None = None
    description: str | None = None


class Member(_Declared, frozen=True, kw_only=True):
    """A user or a group, and its role in the project."""

    role: str
    user: str | None = None
    group: str | None = None
    pattern: str = ""
    """The part of the project the role holds in (``app/*``); empty: all of it."""

    @property
    def name(self) -> str:
        """Whose role it is."""
        return str(self.user or self.group)

    @property
    def key(self) -> tuple[str, str, str]:
        """``u`` or ``g``, as Harbor writes it, the name, and where the role holds."""
        return "u" if self.user is not None else "g", self.name, self.pattern


class Project(_Declared, frozen=True, kw_only=True):
    """A project; of members and labels None says nothing, and an empty list says that there are none."""

    name: str
    public: bool | None = None
    storage: str | None = None
    metadata: dict[str, str | bool | int] = {}
    members: tuple[Member, ...] | None = None
    labels: tuple[Label, ...] | None = None

    def wanted(self) -> dict[str, str]:
        """Metadata as the API takes it."""
        values = {
            key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in self.metadata.items()
        }
        return values if self.public is None else {**values, "public": str(self.public).lower()}


class Permission(_Declared, frozen=True, kw_only=True):
    """Where a robot of the system may do what: a project, ``*`` for every one, or the system itself."""

    allow: tuple[str, ...]
    project: str | None = None
    system: bool = False


class Robot(_Declared, frozen=True, kw_only=True):
    """A robot: of a project, which it works in alone, or of the system, with a list of permissions."""

    name: str
    project: str | None = None
    description: str = ""
    expires: str = EXPIRES
    disabled: bool = False
    allow: tuple[str, ...] = ()
    permissions: tuple[Permission, ...] = ()

    def rights(self) -> list[dict[str, Any]]:
        """Its permissions as the API takes them."""
        if self.project is not None:
            return [{"kind": "project", "namespace": self.project, "access": remote.accesses(self.allow)}]
        return [
            {"kind": "system", "namespace": "/", "access": remote.accesses(each.allow)}
            if each.system
            else {"kind": "project", "namespace": each.project, "access": remote.accesses(each.allow)}
            for each in self.permissions
        ]


class Document(_Declared, frozen=True, kw_only=True):
    """One file, or several in one."""

    settings: dict[str, Any] | None = None
    labels: tuple[Label, ...] | None = None
    projects: tuple[Project, ...] | None = None
    robots: tuple[Robot, ...] | None = None


# ---- reading ----


def read(path: Path) -> Document:
    """The document in a file, or in all YAML and JSON files of a folder. Raises Misuse with ``file:line`` sentences."""
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
        if not files:
            message = f"{path} holds no .yaml, .yml or .json file"
            raise remote.Misuse(message)
    else:
        files = [path]
    return _joined([(file, _checked(remote.located(file))) for file in files])


def _checked(file: remote.Located) -> Document:
    if file.data is None:
        return Document()
    _refuse(file, _unknown(file.data, Document, ()))
    try:
        document = msgspec.convert(file.data, Document)
    except msgspec.ValidationError as error:
        sentence, _, at = str(error).partition(" - at `")
        place = tuple(int(index) if index else key for key, index in _STEPS.findall(at))
        called = ".".join(map(str, place)) or "the document"
        _refuse(file, [(place, f"{called}: {sentence}")])
        raise
    _refuse(file, _mistakes(document))
    return document


def _refuse(file: remote.Located, problems: Iterable[tuple[remote.Place, str]]) -> None:
    """Raise Misuse when there are any."""
    told = [file.told(place, sentence) for place, sentence in problems]
    if told:
        raise remote.Misuse("\n".join(told), code="DOCUMENT")


def _unknown(data: Any, kind: Any, place: remote.Place) -> Iterator[tuple[remote.Place, str]]:
    """Place and sentence for each key that is not known there."""
    if isinstance(data, Mapping):
        struct = next((each for each in (kind, *get_args(kind)) if _is_declared(each)), None)
        if struct is None:
            return
        hints = get_type_hints(struct)
        for key, value in data.items():
            if key in hints:
                yield from _unknown(value, hints[key], (*place, key))
            else:
                near = remote.near(str(key), hints) or f" Keys: {', '.join(hints)}."
                yield (*place, str(key)), f"unknown key {key}.{near}"
    elif isinstance(data, list):
        item = next((get_args(each)[0] for each in (kind, *get_args(kind)) if get_origin(each) is tuple), None)
        for at, value in enumerate(data):
            yield from _unknown(value, item, (*place, at))


def _is_declared(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, _Declared)


def _mistakes(document: Document) -> Iterator[tuple[remote.Place, str]]:
    """What has the right type and makes no sense."""
    for at, project in enumerate(document.projects or ()):
        yield from _wrong(("projects", at, "storage"), remote.limit, project.storage)
        for number, member in enumerate(project.members or ()):
            place: remote.Place = ("projects", at, "members", number)
            if (member.user is None) is (member.group is None):
                yield place, "a member is a user or a group: say one of both"
            yield from _wrong((*place, "role"), remote.role_number, member.role)
    for at, robot in enumerate(document.robots or ()):
        place = ("robots", at)
        yield from _wrong((*place, "expires"), remote.days, robot.expires)
        yield from _wrong((*place, "allow"), remote.accesses, robot.allow)
        if robot.project is not None and (robot.permissions or not robot.allow):
            yield place, f"the robot {robot.name} of a project says in `allow` what it may do there, and nothing else"
        if robot.project is None and (robot.allow or not robot.permissions):
            yield (
                place,
                f"the robot {robot.name} of the system says in `permissions` where it may do what; or give `project`",
            )
        for number, permission in enumerate(robot.permissions):
            inner: remote.Place = (*place, "permissions", number)
            yield from _wrong((*inner, "allow"), remote.accesses, permission.allow)
            if (permission.project is None) is not permission.system:
                yield inner, "a permission is for a `project` or for the `system`: say one of both"


def _wrong(place: remote.Place, check: Callable[[Any], Any], value: Any) -> Iterator[tuple[remote.Place, str]]:
    if value is None:
        return
    try:
        check(value)
    except remote.Misuse as error:
        yield place, str(error)


def _joined(parts: list[tuple[Path, Document]]) -> Document:
    """All documents as one. Raises Misuse where two name the same thing."""
    settings: dict[str, Any] = {}
    for path, part in parts:
        for name in part.settings or {}:
            if name in settings:
                message = f"{path}: the setting {name} is given in another file, too"
                raise remote.Misuse(message, code="DOCUMENT")
        settings |= part.settings or {}
    labels = _all(parts, lambda part: part.labels, lambda label: f"the label {label.name}")
    projects = _all(parts, lambda part: part.projects, lambda project: f"the project {project.name}")
    robots = _all(
        parts, lambda part: part.robots, lambda each: f"the robot {each.name} of {each.project or 'the system'}"
    )
    for project in projects or ():
        _twice("", (f"the member {' '.join(each.key)} of {project.name}" for each in project.members or ()))
        _twice("", (f"the label {each.name} of {project.name}" for each in project.labels or ()))
    given = any(part.settings is not None for _, part in parts)
    return Document(settings=settings if given else None, labels=labels, projects=projects, robots=robots)


def _all(
    parts: list[tuple[Path, Document]],
    of: Callable[[Document], tuple[Thing, ...] | None],
    called: Callable[[Thing], str],
) -> tuple[Thing, ...] | None:
    if all(of(part) is None for _, part in parts):
        return None
    found = tuple((path, each) for path, part in parts for each in of(part) or ())
    _twice(f"{found[-1][0]}: " if found else "", (called(each) for _, each in found))
    return tuple(each for _, each in found)


def _twice(where: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            message = f"{where}{name} is given twice"
            raise remote.Misuse(message, code="DOCUMENT")
        seen.add(name)
