"""The core's sections: every setting, its default and what it is good for.

docs/configuration.md is made from the descriptions here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from corereg.config.hints import take_apart
from corereg.config.kinds import Duration, Host, Location, Network, Secret, Size, WebAddress
from corereg.config.printing import Printer
from corereg.config.problems import SettingError


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the core. Its `repr` hides what a print-out hides: it ends up in logs and tracebacks."""

    def __repr__(self) -> str:
        printer = Printer({}, hide=True, tell=False)
        pairs = [
            f"{field.name}={value!r}"
            if isinstance(value := getattr(self, field.name), msgspec.Struct)
            else f"{field.name}={None if value is None else printer.text(take_apart(field.type), value, field.name)}"
            for field in msgspec.structs.fields(self)
        ]
        return f"{type(self).__name__}({', '.join(pairs)})"


class TLSConfig(Section, frozen=True, kw_only=True):
    """The certificate of the listener. Without one the listener speaks plain HTTP."""

    cert: Annotated[
        Path | None, msgspec.Meta(description="The certificate chain, a PEM file. Needs `server.tls.key` too.")
    ] = None
    key: Annotated[Path | None, msgspec.Meta(description="The certificate's private key, a PEM file.")] = None
    self_signed: Annotated[
        bool,
        msgspec.Meta(description="Make a certificate authority and a certificate in the data folder and use them."),
    ] = False

    def __post_init__(self) -> None:
        if self.cert is not None and self.key is None:
            raise SettingError("cert", "needs server.tls.key too: a certificate without its key cannot be used")
        if self.key is not None and self.cert is None:
            raise SettingError("key", "needs server.tls.cert too: a key without its certificate cannot be used")
        if self.self_signed and self.cert is not None:
            raise SettingError("self_signed", "cannot be true while server.tls.cert is given: choose one certificate")

    @property
    def enabled(self) -> bool:
        """Whether the listener speaks HTTPS."""
        return self.self_signed or self.cert is not None


class ServerConfig(Section, frozen=True, kw_only=True):
    """Where the registry listens and how it is reached."""

    host: Annotated[
        Host, msgspec.Meta(description="The address to listen on; `0.0.0.0` or `::` for every interface.")
    ] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(description="The port to listen on; 0 takes any free one.", ge=0, le=65535)] = (
        8080
    )
    workers: Annotated[int, msgspec.Meta(description="Processes that answer requests.", ge=1, le=1024)] = 1
    kind: Annotated[
        Literal["hypercorn", "uvicorn", "granian"],
        msgspec.Meta(description="The HTTP server. uvicorn and granian are faster and installed as extras."),
    ] = "hypercorn"
    external_url: Annotated[
        WebAddress | None,
        msgspec.Meta(
            description="The address clients use, `https://host[:port]`, where it differs from what they send as Host.",
            extra={"default": "what the client asked for"},
        ),
    ] = None
    trusted_proxies: Annotated[
        tuple[Network, ...],
        msgspec.Meta(description="Proxies whose forwarded headers are believed, as addresses or networks."),
    ] = ()
    shutdown_timeout: Annotated[
        Duration, msgspec.Meta(description="How long running transfers may go on after SIGTERM.")
    ] = 60
    tls: TLSConfig = msgspec.field(default_factory=TLSConfig)


class DatabaseConfig(Section, frozen=True, kw_only=True):
    """Where names, tags, manifests, settings and the journal are kept. All but `url` is for PostgreSQL."""

    url: Annotated[
        Location | None,
        msgspec.Meta(
            description="`sqlite:/path/to/file` for one machine, `postgresql://user:password@host/name` for many.",
            extra={"default": "the SQLite file `corereg.db` in `data`"},
        ),
    ] = None
    password_file: Annotated[
        Path | None,
        msgspec.Meta(description="A file with the password alone, read anew for every connection."),
    ] = None
    pool_size: Annotated[
        int, msgspec.Meta(description="Connections that each worker process keeps open.", ge=1, le=1000)
    ] = 10
    pool_overflow: Annotated[
        int, msgspec.Meta(description="Connections beyond those, while there is a rush.", ge=0, le=1000)
    ] = 10
    pool_timeout: Annotated[
        Duration, msgspec.Meta(description="How long a request waits for a free connection; then it hears 503.", ge=1)
    ] = 30
    connect_timeout: Annotated[
        Duration, msgspec.Meta(description="How long the server may take to accept a connection.", ge=1)
    ] = 10
    recycle: Annotated[
        Duration, msgspec.Meta(description="How long a connection is used before another takes its place; 0: for ever.")
    ] = 3600
    statement_timeout: Annotated[
        Duration, msgspec.Meta(description="How long one statement may take; 0: as long as it likes.")
    ] = 60
    lock_timeout: Annotated[
        Duration, msgspec.Meta(description="How long a change waits for another one; 0: for ever.")
    ] = 30
    statement_cache_size: Annotated[
        int,
        msgspec.Meta(
            description="Prepared statements each connection remembers; 0 behind a pooler such as pgbouncer.",
            ge=0,
            le=10_000,
        ),
    ] = 256


class StorageConfig(Section, frozen=True, kw_only=True):
    """Where the bytes of blobs are kept."""

    url: Annotated[
        Location | None,
        msgspec.Meta(
            description="`fs:/path/to/folder`, `s3://bucket/prefix`, or what else a storage plugin knows.",
            extra={"default": "the folder `storage` in `data`"},
        ),
    ] = None


class ProtocolConfig(Section, frozen=True, kw_only=True):
    """What the registry protocol allows here."""

    delete: Annotated[bool, msgspec.Meta(description="Whether tags, manifests and blobs can be deleted over /v2/.")] = (
        True
    )
    allow_sparse: Annotated[
        bool, msgspec.Meta(description="Whether manifests may name blobs and manifests that are not in the repository.")
    ] = False
    manifest_limit: Annotated[
        Size, msgspec.Meta(description="The largest manifest taken; a larger one is answered with 413.", ge=65536)
    ] = 4 * 1024 * 1024
    page_size: Annotated[
        int, msgspec.Meta(description="The most entries on one page of tags or of the catalog.", ge=1, le=100_000)
    ] = 1000
    mount_without_from: Annotated[
        bool, msgspec.Meta(description="Whether a mount that names no source may take any blob the identity can pull.")
    ] = True
    tags_per_push: Annotated[
        int, msgspec.Meta(description="The most tags one push by digest may set; more are answered with 414.", ge=1)
    ] = 16
    name_limit: Annotated[
        int, msgspec.Meta(description="The longest repository name, in characters.", ge=1, le=255)
    ] = 255


class UploadsConfig(Section, frozen=True, kw_only=True):
    """Blobs on their way in."""

    expire: Annotated[Duration, msgspec.Meta(description="How long an upload without new bytes is kept.", ge=60)] = (
        7 * 86400
    )
    lease: Annotated[
        Duration,
        msgspec.Meta(description="How long a worker that died holds an upload before another may go on.", ge=1),
    ] = 30
    size_limit: Annotated[
        Size | None, msgspec.Meta(description="The largest blob taken.", ge=1, extra={"default": "no limit"})
    ] = None


class TokensConfig(Section, frozen=True, kw_only=True):
    """The bearer tokens that `docker login` brings."""

    service: Annotated[
        str, msgspec.Meta(description="The name of this registry in challenges and tokens.", min_length=1)
    ] = "corereg"
    issuer: Annotated[str, msgspec.Meta(description="The name of the issuer in tokens.", min_length=1)] = "corereg"
    lifetime: Annotated[
        Duration, msgspec.Meta(description="How long a token is good; clients expect at least a minute.", ge=60)
    ] = 1800
    rotate: Annotated[
        Duration, msgspec.Meta(description="How often a new signing key is made; the old ones are honoured.", ge=3600)
    ] = 90 * 86400
    leeway: Annotated[Duration, msgspec.Meta(description="How far the clocks of nodes may differ.", le=600)] = 60


class SigninConfig(Section, frozen=True, kw_only=True):
    """How wrong passwords are slowed."""

    failures: Annotated[
        int, msgspec.Meta(description="Wrong passwords within the window before a name has to wait.", ge=1)
    ] = 5
    window: Annotated[Duration, msgspec.Meta(description="How long a wrong password counts.", ge=1)] = 300


class JournalConfig(Section, frozen=True, kw_only=True):
    """The record of what happened."""

    keep: Annotated[Duration, msgspec.Meta(description="How long events are kept.", ge=3600)] = 90 * 86400
    batch: Annotated[
        Duration,
        msgspec.Meta(description="How long pulls are gathered before they are written; a crash loses as much.", ge=1),
    ] = 2


class JobsConfig(Section, frozen=True, kw_only=True):
    """Work in the background."""

    slots: Annotated[
        int,
        msgspec.Meta(description="Tasks that each worker process runs at once; 0 leaves them to other nodes.", ge=0),
    ] = 4
    lease: Annotated[
        Duration,
        msgspec.Meta(description="How long a process that died holds a task before another begins it again.", ge=3),
    ] = 30
    keep: Annotated[
        int, msgspec.Meta(description="Ended executions remembered for each kind of job and what it was for.", ge=1)
    ] = 50


class GCConfig(Section, frozen=True, kw_only=True):
    """Garbage collection: taking back what nothing needs any more, while everything goes on."""

    grace: Annotated[
        Duration,
        msgspec.Meta(
            description="How long a blob that was pushed, mounted or asked for stays though no manifest names it."
        ),
    ] = 7200
    keep_deleted: Annotated[
        Duration | None,
        msgspec.Meta(
            description="How long a deleted manifest or tag can be restored, and its blobs stay; as long as `grace` "
            "where nothing is said."
        ),
    ] = None
    workers: Annotated[
        int, msgspec.Meta(description="Blobs that are deleted from the storage at once.", ge=1, le=10)
    ] = 4

    @property
    def kept(self) -> int:
        """Seconds that something deleted can be restored."""
        return self.grace if self.keep_deleted is None else self.keep_deleted


class LogConfig(Section, frozen=True, kw_only=True):
    """What is logged, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], msgspec.Meta(description="The least that is logged.")
    ] = "info"
    format: Annotated[
        Literal["text", "json"], msgspec.Meta(description="Lines for people, or one JSON object a line.")
    ] = "text"
    access: Annotated[
        bool, msgspec.Meta(description="Whether each request is logged too, one line when it was answered.")
    ] = False


class MetricsConfig(Section, frozen=True, kw_only=True):
    """Numbers for Prometheus, at `/metrics`."""

    enabled: Annotated[bool, msgspec.Meta(description="Whether `/metrics` is answered at all.")] = True
    token: Annotated[
        Secret | None,
        msgspec.Meta(
            description="Whoever sends it as a bearer token may read `/metrics`; else administrators only.",
            min_length=16,
        ),
    ] = None
    port: Annotated[
        int | None,
        msgspec.Meta(
            description="A port of its own that answers `/metrics` to anybody, over plain HTTP.", ge=1, le=65535
        ),
    ] = None
    host: Annotated[Host, msgspec.Meta(description="The address that `metrics.port` is opened on.")] = "127.0.0.1"


class TracingConfig(Section, frozen=True, kw_only=True):
    """Traces of requests, sent over OTLP. Needs the extra `otel`."""

    endpoint: Annotated[
        Location | None,
        msgspec.Meta(
            description="Where spans are sent, such as `http://127.0.0.1:4318/v1/traces`.",
            extra={"default": "nowhere: nothing is traced"},
        ),
    ] = None
    service: Annotated[str, msgspec.Meta(description="What the registry is called in traces.", min_length=1)] = (
        "corereg"
    )
    sample: Annotated[
        float, msgspec.Meta(description="Which part of the requests that bring no decision is traced.", ge=0, le=1)
    ] = 1.0
