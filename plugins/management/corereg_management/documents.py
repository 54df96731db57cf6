"""What the API says, as JSON: Harbor's fields, types and names (API v2.0). What was not asked for is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

NEVER = "0001-01-01T00:00:00.000Z"
"""How Harbor writes a time that has not come."""


def rfc3339(microseconds: int | None) -> str:
    """A time with milliseconds, UTC, as Harbor writes it."""
    if microseconds is None:
        return NEVER
    moment = datetime.fromtimestamp(microseconds // 1000 / 1000, UTC)
    return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository. `name` begins with its project's."""

    id: int
    project_id: int
    name: str
    description: str
    artifact_count: int
    pull_count: int
    creation_time: str
    update_time: str


class RepositoryUpdate(msgspec.Struct, frozen=True):
    """What of a repository can be changed."""

    description: Annotated[str, msgspec.Meta(max_length=16384)] = ""


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag."""

    id: int
    repository_id: int
    artifact_id: int
    name: str
    push_time: str
    pull_time: str
    immutable: bool = False


class NewTag(msgspec.Struct, frozen=True):
    """A tag to be made."""

    name: str


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A child of an index. `child_id` is 0 where the registry does not have it."""

    parent_id: int
    child_id: int
    child_digest: str
    platform: dict[str, Any]
    annotations: dict[str, str]
    urls: list[str]


class Accessory(msgspec.Struct, frozen=True, kw_only=True):
    """A signature, an SBOM, whatever hangs on an artifact."""

    id: int
    artifact_id: int
    subject_artifact_id: int
    subject_artifact_digest: str
    subject_artifact_repo: str
    size: int
    digest: str
    type: str
    icon: str
    creation_time: str


class AdditionLink(msgspec.Struct, frozen=True):
    """Where more about an artifact can be read."""

    href: str
    absolute: bool = False


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact: a manifest, and what is known about it."""

    id: int
    type: str
    media_type: str
    manifest_media_type: str
    artifact_type: str
    project_id: int
    repository_id: int
    repository_name: str
    digest: str
    size: int
    icon: str
    push_time: str
    pull_time: str
    extra_attrs: dict[str, Any] | UnsetType = UNSET
    annotations: dict[str, str] | UnsetType = UNSET
    references: list[Reference] | UnsetType = UNSET
    tags: list[Tag] | UnsetType = UNSET
    addition_links: dict[str, AdditionLink] | UnsetType = UNSET
    labels: list[Any] | UnsetType = UNSET
    scan_overview: dict[str, Any] | UnsetType = UNSET
    sbom_overview: dict[str, Any] | UnsetType = UNSET
    accessories: list[Accessory] | UnsetType = UNSET
    inherited_accessories: list[Accessory] | UnsetType = UNSET


class SearchedRepository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository that was found."""

    repository_name: str
    project_id: int
    project_name: str
    project_public: bool
    pull_count: int
    artifact_count: int


class Search(msgspec.Struct, frozen=True):
    """What was found."""

    project: list[Any]
    repository: list[SearchedRepository]


class Statistic(msgspec.Struct, frozen=True, kw_only=True):
    """Counts; the totals are told to administrators only."""

    private_project_count: int = 0
    private_repo_count: int = 0
    public_project_count: int = 0
    public_repo_count: int = 0
    total_project_count: int = 0
    total_repo_count: int = 0
    total_storage_consumption: int = 0


class Volume(msgspec.Struct, frozen=True):
    """A disk: bytes in all, and still free."""

    total: int
    free: int


class SystemInfo(msgspec.Struct, frozen=True):
    """The disks that blobs lie on; none where they lie elsewhere."""

    storage: list[Volume]


class Component(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of the registry, ``healthy`` or ``unhealthy``."""

    name: str
    status: str
    error: str = ""


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """A process: ``alive``, ``draining`` (it is about to end), or ``silent`` (not heard of for half a minute)."""

    id: str
    status: Literal["alive", "draining", "silent"]
    heartbeat_at: str


class Health(msgspec.Struct, frozen=True):
    """Healthy when all of its components are. `nodes` are the processes; a silent one makes nobody ill."""

    status: str
    components: list[Component]
    nodes: list[NodeState] = []


class Icon(msgspec.Struct, frozen=True, rename={"content_type": "content-type"}):
    """A picture, base64."""

    content_type: str
    content: str


class SettingValue(msgspec.Struct, frozen=True):
    """A setting's value, and whether it can be changed here."""

    value: Any
    editable: bool


class Version(msgspec.Struct, frozen=True):
    """The version of the API."""

    version: str
