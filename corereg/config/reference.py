"""docs/configuration.md, written from the Settings themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from corereg.config.hints import LISTS, TABLES, Hint, take_apart
from corereg.config.model import INTERNAL, Config
from corereg.config.printing import Printer
from corereg.config.problems import dotted, variable

_INTRODUCTION = """\
# Configuration

Nothing has to be configured. What is, is read in this order; the later wins:

1. the defaults below,
2. a TOML file (`--config corereg.toml`),
3. environment variables, `COREREG__SECTION__KEY`,
4. options on the command line.

- **Durations** are written `"30s"`, `"30m"`, `"1h30m"`, `"7d"`, or as a whole number of seconds.
- **Sizes** are written `"512KiB"`, `"4MiB"` (powers of 1024), `"10GB"` (powers of 1000), or as a whole number of bytes.
- **Paths** in the file are relative to the file's folder, those given otherwise to the working directory. So is a URL
  such as `fs:./bytes`.
- **Lists** in variables are written with commas, or as TOML: `["a", "b"]`.
- **Secrets**, and passwords inside URLs, are never printed: `corereg config print` shows `***`.
- A table that is not listed under the core belongs to the plugin of that name.

`corereg config check` names file, line and key of every mistake; `corereg config print --origin` shows what holds and
where it was given."""
_ANY_NAME = "<name>"
_HEAD = "| key | type | default | environment | meaning |\n|---|---|---|---|---|"


def reference_markdown(tables: Mapping[str, type[Any]]) -> str:
    """The configuration page in Markdown: every key of the core, then of `tables`, the plugins' Settings by name."""
    top, sections = [], []
    for field in msgspec.structs.fields(Config):
        hint = take_apart(field.type)
        if field.name in INTERNAL:
            continue
        if hint.struct:
            sections.append(_section(field.encode_name, hint.struct))
        else:
            top.append(_row((field.encode_name,), field, hint))
    parts = [_INTRODUCTION, "## Core", "\n".join(["These stand at the top of the file.\n", _HEAD, *top]), *sections]
    if tables:
        parts.append("## Plugins\n\nWhat an enabled plugin reads, in the table of its own name.")
        parts += [_section(name, settings) for name, settings in tables.items()]
    return "\n\n".join(parts) + "\n"


def _section(name: str, settings: type[Any]) -> str:
    text = inspect.cleandoc(settings.__doc__ or "").split("\n\n")[0]
    rows = list(_rows((name,), settings))
    parts = [f"### `[{dotted((name,))}]`", text, "\n".join([_HEAD, *rows]) if rows else "It has no settings."]
    return "\n\n".join(part for part in parts if part)


def _rows(path: tuple[str, ...], settings: type[Any]) -> Iterator[str]:
    for field in msgspec.structs.fields(settings):
        hint = take_apart(field.type)
        inner = (*path, field.encode_name)
        if hint.struct:
            yield from _rows(inner, hint.struct)
            continue
        yield _row(inner, field, hint)
        if hint.shape in LISTS and hint.item.struct:
            yield from _rows((*path, f"{field.encode_name}[]"), hint.item.struct)
        elif hint.shape in TABLES and hint.item.struct:
            yield from _rows((*inner, _ANY_NAME), hint.item.struct)


def _row(path: tuple[str, ...], field: msgspec.structs.FieldInfo, hint: Hint) -> str:
    in_list = any(part.endswith("[]") for part in path)
    cells = (
        f"`{'.'.join(path)}`",
        f"{hint.name}, secret" if hint.secret else hint.name,
        _default(field, hint),
        "" if in_list else f"`{variable(path)}`",
        hint.description,
    )
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _default(field: msgspec.structs.FieldInfo, hint: Hint) -> str:
    if told := hint.told("default"):
        return str(told)
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "none" if value is None else f"`{Printer({}, hide=True, tell=False).text(hint, value, field.encode_name)}`"
