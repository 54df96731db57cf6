"""Pages that are made from the code: docs/hooks.md and docs/configuration.md.

``python -m corereg.documentation`` writes them, with ``--check`` it fails when one is stale. `scripts/docs` runs it.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from corereg import hookspecs
from corereg.config import reference_markdown
from corereg.plugins import default_names, load, specified

LABELS = ("Asked", "Order", "None", "Raises")
"""What each hook's docstring says after its sentence, in this order; then comes ``Example``."""
DOCS = Path(__file__).resolve().parents[1] / "docs"
"""Where the pages lie in a checkout."""

_NOTE = (
    "`corereg plugins hooks` prints this on a terminal; `corereg plugins new` begins a plugin. The page is made from "
    "`corereg/hookspecs.py` by `scripts/docs`."
)
_LABEL = re.compile(r"([A-Z][a-z]+):(?: (.*))?\Z")


class HookPage(msgspec.Struct, frozen=True):
    """One hook as its docstring tells it. `example` is Python."""

    name: str
    call: str
    definition: str
    is_async: bool
    sentence: str
    labels: Mapping[str, str]
    example: str

    @property
    def kind(self) -> str:
        return "async" if self.is_async else "at start-up"


def hook_pages(owner: Any = hookspecs) -> list[HookPage]:
    """The hooks that a module or class declares: the core's, in the order of a request's life, or a plugin's own.

    Raises ValueError for a docstring that lacks something.
    """
    return [_page(name, getattr(owner, name)) for name in specified(owner)]


def owned_pages() -> dict[str, list[HookPage]]:
    """The hooks that installed first-party plugins own, by plugin."""
    return {name: hook_pages(owner) for name, owner in load(default_names(), {}).owned.items()}


def _page(name: str, function: Any) -> HookPage:
    parts = inspect.cleandoc(function.__doc__ or "").split("\n\n", 1)
    sentence = " ".join(parts[0].split())
    rest, _, example = (parts[1] if len(parts) > 1 else "").partition("Example::")
    labels = _labels(rest)
    missing = [label for label in LABELS if not labels.get(label)]
    if not sentence.endswith("."):
        missing.insert(0, "a sentence")
    if not example.strip():
        missing.append("Example")
    if missing or list(labels) != list(LABELS):
        raise ValueError(f"hook {name}: its docstring lacks {', '.join(missing) or f'the order {LABELS}'}")
    is_async = inspect.iscoroutinefunction(function)
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.name != "self"]
    signature = signature.replace(parameters=own)
    return HookPage(
        name,
        f"{name}({', '.join(signature.parameters)})",
        f"{'async ' if is_async else ''}def {name}{signature}".replace("'", ""),
        is_async,
        sentence,
        labels,
        inspect.cleandoc(example.strip("\n")).strip(),
    )


def _labels(text: str) -> dict[str, str]:
    """``Asked: ...`` and the like; a line that begins with no label goes on with the one before."""
    found: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label:
            last = label[1]
            found[last] = label[2] or ""
        elif last and line.strip():
            found[last] = f"{found[last]} {line.strip()}".strip()
    return found


def hooks_markdown() -> str:
    """The page of hooks."""
    pages = hook_pages()
    owned = [(plugin, page) for plugin, more in owned_pages().items() for page in more]
    introduction = _markdown(inspect.cleandoc(hookspecs.__doc__ or "").rpartition("\n\n")[0])
    rows = [
        f"| [`{page.name}`](#{page.name}) | {page.kind} | {_markdown(page.labels['Order'])} |"
        for page in (*pages, *(page for _, page in owned))
    ]
    parts = [
        "# Hooks",
        introduction.removeprefix("The hooks, in the order of a request's life.").strip(),
        _NOTE,
        "\n".join(["| hook | kind | order |", "|---|---|---|", *rows]),
        *(part for page in pages for part in _hook_markdown(page)),
        *(part for plugin, page in owned for part in _hook_markdown(page, plugin)),
    ]
    return "\n\n".join(parts) + "\n"


def _hook_markdown(page: HookPage, owner: str | None = None) -> Iterator[str]:
    yield f"## {page.name}"
    if owner is not None:
        yield f"A hook of the plugin `{owner}`: mark it `@hookimpl(optionalhook=True)`."
    yield f"```py\n{page.definition}\n```"
    yield _markdown(page.sentence)
    yield "\n".join(f"- **{label}**: {_markdown(text)}" for label, text in page.labels.items())
    yield f"```py\n{page.example}\n```"


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def settings_lines(name: str, settings: type[msgspec.Struct]) -> Iterator[str]:
    """Each setting of a plugin, with its default and its meaning, for a terminal."""
    for line in reference_markdown({name: settings}).rpartition(f"### `[{name}]`")[2].splitlines():
        if line.startswith("| `"):
            key, kind, default, _, meaning = (cell.strip().replace("`", "") for cell in line[1:-1].split(" | "))
            yield f"{key.removeprefix(f'{name}.')} ({kind}; default: {default})  {meaning}"


def configuration_markdown() -> str:
    """The page of the configuration: the core's keys, then those of the first-party plugins."""
    return reference_markdown(dict(_settings()))


def _settings() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for each in load(default_names(), {}):
        if each.settings is not None:
            yield each.name, type(each.settings)


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or check them; the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/docs", description="Make docs/hooks.md and docs/configuration.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is stale")
    parser.add_argument("--into", type=Path, default=DOCS, help="the folder of the pages")
    options = parser.parse_args(arguments)
    pages = {"hooks.md": hooks_markdown(), "configuration.md": configuration_markdown()}
    stale = [name for name, text in pages.items() if _read(options.into / name) != text]
    for name in stale:
        if options.check:
            sys.stderr.write(f"docs/{name} is stale: run scripts/docs\n")
        else:
            (options.into / name).write_text(pages[name], encoding="utf-8")
            sys.stdout.write(f"{options.into / name}\n")
    return 1 if options.check and stale else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
