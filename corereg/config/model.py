"""Config: the whole configuration, and how it is loaded, checked and printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from corereg.config.decoding import Decoder, Table, Wrong, decode_table, in_order
from corereg.config.hints import take_apart
from corereg.config.kinds import PluginName
from corereg.config.printing import Printer
from corereg.config.problems import ConfigError, KeyPath, Origin, Origins, Problem, dotted, nearest, problem, variable
from corereg.config.sections import (
    DatabaseConfig,
    GCConfig,
    JobsConfig,
    JournalConfig,
    LogConfig,
    MetricsConfig,
    ProtocolConfig,
    Section,
    ServerConfig,
    SigninConfig,
    StorageConfig,
    TokensConfig,
    TracingConfig,
    UploadsConfig,
)
from corereg.config.sources import Sources

FIXED = "CONFIG_OVERWRITE_JSON"

S = TypeVar("S", bound=msgspec.Struct)

INTERNAL = frozenset({"tables", "origins", "file", "fixed"})
"""Fields of Config that are no keys of corereg.toml."""


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration. `Config()` is a good one; `Config.load` reads a file and the environment.

    `tables` holds each plugin's own table as it was given; `settings` decodes one. `origins` tells where a value
    was given, by its path; a path it does not know is a default. `file` is the file that was read. `fixed` are settings
    that otherwise change while running, given from outside as ``CONFIG_OVERWRITE_JSON``, Harbor's variable.
    """

    plugins: Annotated[
        tuple[PluginName, ...] | None,
        msgspec.Meta(
            description="The plugins that are enabled, in the order they are asked: names, or paths of Python files.",
            extra={"default": "every first-party plugin that is installed"},
        ),
    ] = None
    data: Annotated[
        Path, msgspec.Meta(description="The folder for everything that is kept and has no other place.")
    ] = Path("corereg-data")
    server: ServerConfig = msgspec.field(default_factory=ServerConfig)
    database: DatabaseConfig = msgspec.field(default_factory=DatabaseConfig)
    storage: StorageConfig = msgspec.field(default_factory=StorageConfig)
    protocol: ProtocolConfig = msgspec.field(default_factory=ProtocolConfig)
    uploads: UploadsConfig = msgspec.field(default_factory=UploadsConfig)
    tokens: TokensConfig = msgspec.field(default_factory=TokensConfig)
    signin: SigninConfig = msgspec.field(default_factory=SigninConfig)
    journal: JournalConfig = msgspec.field(default_factory=JournalConfig)
    jobs: JobsConfig = msgspec.field(default_factory=JobsConfig)
    gc: GCConfig = msgspec.field(default_factory=GCConfig)
    log: LogConfig = msgspec.field(default_factory=LogConfig)
    metrics: MetricsConfig = msgspec.field(default_factory=MetricsConfig)
    tracing: TracingConfig = msgspec.field(default_factory=TracingConfig)
    tables: Mapping[str, Mapping[str, Any]] = {}
    origins: Mapping[tuple[str | int, ...], Origin] = {}
    file: Path | None = None
    fixed: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"Config(file={self.file and str(self.file)!r}, data={str(self.data)!r}, plugins={self.plugins})"

    @property
    def database_url(self) -> str:
        """`database.url`, or the SQLite file in the data folder."""
        return self.database.url or f"sqlite:{self.data.absolute() / 'corereg.db'}"

    @property
    def storage_url(self) -> str:
        """`storage.url`, or the folder in the data folder."""
        return self.storage.url or f"fs:{self.data.absolute() / 'storage'}"

    @classmethod
    def load(
        cls,
        file: Path | None = None,
        environment: Mapping[str, str] = {},
        overrides: Mapping[str, Any] = {},
    ) -> Config:
        """Read defaults, then `file`, then `environment`, then `overrides`; the later wins.

        Of `environment` only ``COREREG__SECTION__KEY`` and ``CONFIG_OVERWRITE_JSON`` are read: give `os.environ`.
        `overrides` are dotted keys from the command line; None means that the option was not given. Raises ConfigError
        with every problem found.
        """
        sources = Sources()
        if file is not None:
            sources.add_file(file)
        sources.add_environment(environment)
        sources.add_overrides(overrides)
        config = _decoded(sources)
        return msgspec.structs.replace(config, data=config.data.absolute(), file=file, fixed=_fixed(environment))

    def check(self) -> None:
        """Check a Config made in Python as `load` checks a file. Raises ConfigError with every problem found."""
        decoder = Decoder(self.origins)
        for field in _keys().values():
            hint = take_apart(field.type)
            raw = msgspec.to_builtins(getattr(self, field.name), enc_hook=str)
            try:
                decoder.value(hint, raw, (field.encode_name,))
            except Wrong:
                continue
        if decoder.problems:
            raise ConfigError(decoder.problems)

    def check_tables(self, names: Iterable[str]) -> None:
        """Refuse tables that belong to no plugin of `names`: a mistyped section looks like one. Raises ConfigError."""
        known = set(names)
        strange = [name for name in self.tables if name not in known]
        if strange:
            raise ConfigError(in_order(self._strange(name, known) for name in strange))

    def _strange(self, name: str, known: Iterable[str]) -> Problem:
        message = f"unknown table {dotted((name,))}: neither the core nor an enabled plugin has it"
        near = nearest(name, sorted({*known, *_keys()}))
        return problem((name,), message, self.origins, near)

    def settings(self, name: str, settings: type[S]) -> S:
        """The table of the plugin `name`, decoded. Raises ConfigError."""
        return decode_table(name, self.tables.get(name, {}), settings)

    def render(
        self,
        *,
        redact: bool = True,
        origin: bool = False,
        settings: Mapping[str, type[msgspec.Struct]] = {},
    ) -> str:
        """The configuration as TOML.

        `redact` puts ``***`` for secrets and for passwords in URLs; `origin` tells of each value where it was given.
        `settings` are the plugins' Settings by name: their tables are then shown with defaults. Of a table without
        one, whatever sounds like a secret is hidden.
        """
        printer = Printer(self.origins, hide=redact, tell=origin)
        lines = list(printer.struct(self, (), skip=INTERNAL))
        for name in dict.fromkeys((*self.tables, *settings)):
            lines += ["", f"[{dotted((name,))}]"]
            if name in settings:
                lines += printer.struct(self.settings(name, settings[name]), (name,))
            else:
                lines += printer.mapping(self.tables[name], (name,))
        return "\n".join(lines) + "\n"


def _fixed(environment: Mapping[str, str]) -> Mapping[str, Any]:
    """The settings an operator fixes from outside; their names and types are checked by who declares them."""
    text = environment.get(FIXED)
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        message = f"must be one JSON object of settings: {error}"
        raise ConfigError([Problem(f"environment variable {FIXED}", None, "", message)]) from None


def _keys() -> dict[str, msgspec.structs.FieldInfo]:
    """The keys and sections of the core, by name."""
    return {field.encode_name: field for field in msgspec.structs.fields(Config) if field.name not in INTERNAL}


def _decoded(sources: Sources) -> Config:
    decoder = Decoder(sources.origins)
    decoder.problems += sources.problems
    keys = _keys()
    values: dict[str, Any] = {}
    tables: dict[str, Table] = {}
    for key, raw in sources.tree.items():
        if key in keys:
            try:
                values[key] = decoder.value(take_apart(keys[key].type), raw, (key,))
            except Wrong:
                continue
        elif isinstance(raw, dict):
            tables[key] = Table(raw, sources.origins)
        else:
            decoder.problems.append(_stray(key, raw, sources.origins))
    if decoder.problems:
        raise ConfigError(in_order(decoder.problems))
    return Config(**values, tables=tables, origins=sources.origins)


def _stray(key: str, raw: object, origins: Origins) -> Problem:
    """A value at the top, where only tables may be strangers; it may belong into a section."""
    if isinstance(raw, list) and raw and isinstance(raw[0], dict):
        return problem((key,), f"{dotted((key,))} must be one table, [{key}], not a list of tables", origins)
    places: dict[str, KeyPath] = {key: (key,) for key in _keys()}
    for section, field in _keys().items():
        struct = take_apart(field.type).struct
        for inner in msgspec.structs.fields(struct) if struct else ():
            places.setdefault(inner.encode_name, (section, inner.encode_name))
    near = nearest(key, places)
    origin = origins.get((key,))
    spelled: Callable[[KeyPath], str] = variable if origin and origin.kind == "environment" else dotted
    return problem((key,), f"unknown key {dotted((key,))}", origins, spelled(places[near]) if near else "")
