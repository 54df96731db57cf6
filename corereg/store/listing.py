"""Pages of lists as Harbor's API asks for them: ``page``, ``page_size``, and the grammars of ``q`` and ``sort``.

``q=k1=v1,k2=~v2,k3=[min~max],k4={a b},k5=(a b)``: equal, contains (any case), from-to (either end may be left out,
both are inside), any of, all of. A comma parts the terms, a backslash takes the next character as it is, quotes keep a
value a text. A value is a time (``2006-01-02T15:04:05``), else a number, else a text. ``sort=a,-b``. Names that a list
does not have are ignored, in both; what cannot be read is a 400, and so is what asks for too much at once.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

from corereg.errors import BadRequest
from corereg.store.database import Database, Row

LARGEST_PAGE = 100
LARGEST_NUMBER = 2**63 - 1
# A condition for each would be more than a database takes: SQLite's expressions are 1000 deep, its patterns 50,000
# bytes long.
MOST_TERMS = 50
"""Terms of one ``q``, and names of one ``sort``."""
MOST_VALUES = 256
"""Values of one ``q`` in all its terms."""
LONGEST_TEXT = 4096
"""Characters of a text that is looked for."""

Value = int | str | datetime


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters that every list takes; a list with more of them inherits.

    A `page_size` of 0 or -1 asks for everything.
    """

    q: str = ""
    sort: str = ""
    page: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_NUMBER)] = 1
    page_size: Annotated[int, msgspec.Meta(ge=-1, le=LARGEST_PAGE)] = 10

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name not in {"q", "sort"} and isinstance(value := getattr(self, name), str):
                _check_length(name, value)

    @property
    def limit(self) -> int | None:
        """How many items a page has; None for all."""
        return self.page_size if self.page_size > 0 else None

    @property
    def offset(self) -> int:
        """How many items stand before the page."""
        return min((self.page - 1) * (self.limit or 0), LARGEST_NUMBER)

    @property
    def terms(self) -> tuple[Term, ...]:
        """What ``q`` asks. Raises BadRequest."""
        return parse_q(self.q)

    @property
    def order(self) -> tuple[tuple[str, bool], ...]:
        """What ``sort`` asks: names, and whether downwards."""
        words = [word.strip() for word in self.sort.split(",")]
        if len(words) > MOST_TERMS:
            message = f"sort: {len(words)} names are too many; the first {MOST_TERMS} say enough"
            raise BadRequest(message)
        return tuple((word.lstrip("+-"), word.startswith("-")) for word in words if word.lstrip("+-"))


class Term(msgspec.Struct, frozen=True):
    """One term of ``q``. `how`: ``is``, ``like``, ``range`` (two values, either may be None), ``any``, ``all``."""

    key: str
    how: Literal["is", "like", "range", "any", "all"]
    values: tuple[Value | None, ...]

    @property
    def value(self) -> Value | None:
        """The first value."""
        return self.values[0] if self.values else None

    @property
    def text(self) -> str:
        """The first value as it was written, for columns of text."""
        return _text(self.value)


_lists: tuple[tuple[str, str, Literal["any", "all"]], ...] = (("{", "}", "any"), ("(", ")", "all"))
_camel = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_escaped = re.compile(r"\\(.)", re.DOTALL)
_moment = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}\Z")
_number = re.compile(r"-?[0-9]{1,18}\Z")
_operator = re.compile(r"(.+)__(icontains|in|gte|lte|gt|lt|exact)\Z")


def parse_q(text: str) -> tuple[Term, ...]:
    """The terms of a ``q``. Raises BadRequest, naming the term that cannot be read."""
    text = unquote(text)  # Harbor's server undoes the encoding once more, and its clients count on it
    if "\0" in text:  # PostgreSQL keeps no such text, and SQLite reads a pattern to there
        message = "q: a value cannot hold the character NUL"
        raise BadRequest(message)
    parts = [part for part in _split(text, ",") if part.strip()]
    if len(parts) > MOST_TERMS:
        message = f"q: {len(parts)} terms are too many; {MOST_TERMS} are taken"
        raise BadRequest(message)
    terms = tuple(_term(part) for part in parts)
    values = [value for term in terms for value in term.values]
    if len(values) > MOST_VALUES:
        message = f"q: {len(values)} values are too many; {MOST_VALUES} are taken, ask several times"
        raise BadRequest(message)
    for value in values:
        if isinstance(value, str):
            _check_length("q", value)
    return terms


def _check_length(name: str, text: str) -> None:
    if len(text) > LONGEST_TEXT:
        message = f"{name}: a text of {len(text)} characters is too long to look for; {LONGEST_TEXT} are taken"
        raise BadRequest(message)


def _split(text: str, mark: str) -> list[str]:
    """`text` at each `mark` that no backslash takes and no bracket holds."""
    parts, part, depth, escaped = [], "", 0, False
    for char in text:
        if escaped or char == "\\":
            escaped = not escaped
        elif char in "[{(":
            depth += 1
        elif char in "]})":
            depth -= 1
        elif char == mark and depth <= 0:
            parts.append(part)
            part = ""
            continue
        part += char
    return [*parts, part]


def _term(text: str) -> Term:
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key or not value:
        message = f"q: {text.strip()[:60]!r} is no term; write key=value"
        raise BadRequest(message)
    if value.startswith("~"):
        return Term(_snake(key), "like", (_plain(value[1:]),))
    for opening, closing, how in _lists:
        if value.startswith(opening):
            values = tuple(_value(part) for part in _split(_inside(text, value, closing), " ") if part)
            return Term(_snake(key.removesuffix("__in")), how, values)
    if value.startswith("["):
        ends = _split(_inside(text, value, "]"), "~")
        if len(ends) != 2:
            message = f"q: {text.strip()[:60]!r} is no range; write key=[from~to]"
            raise BadRequest(message)
        return Term(_snake(key), "range", tuple(_value(end) if end.strip() else None for end in ends))
    return _suffixed(key, value) or Term(_snake(key), "is", (_value(value),))


def _suffixed(key: str, value: str) -> Term | None:
    """``key__gte=3`` and its sisters."""
    match = _operator.match(key)
    if match is None:
        return None
    name, one = _snake(match[1]), _value(value)
    match match[2]:
        case "icontains":
            return Term(name, "like", (_plain(value),))
        case "in":
            return Term(name, "any", (one,))
        case "gte" | "gt":
            return Term(name, "range", (one + 1 if match[2] == "gt" and isinstance(one, int) else one, None))
        case "lte" | "lt":
            return Term(name, "range", (None, one - 1 if match[2] == "lt" and isinstance(one, int) else one))
    return Term(name, "is", (one,))


def _inside(text: str, value: str, closing: str) -> str:
    if not value.endswith(closing):
        message = f"q: {text.strip()[:60]!r} lacks its {closing}"
        raise BadRequest(message)
    return value[1:-1]


def _snake(key: str) -> str:
    return _camel.sub("_", key).lower()


def _plain(text: str) -> str:
    return _escaped.sub(r"\1", text)


def _value(text: str) -> Value:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return _plain(text[1:-1])
    if _number.match(text):
        return int(text)
    if _moment.match(text):
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            return text
    return _plain(text)


# ---- in SQL ----


class ByBytes(sa.ColumnElement[str]):
    """A text that sorts by its bytes on every engine, as names do: not as the database's owner chose its collation."""

    inherit_cache = True
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 - so SQLAlchemy wants it

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        self.column = column
        self.type = sa.Text()


@compiles(ByBytes)
def _as_it_is(element: ByBytes, compiler: Any, **more: Any) -> str:
    return str(compiler.process(element.column, **more))


@compiles(ByBytes, "postgresql")
def _collated(element: ByBytes, compiler: Any, **more: Any) -> str:
    return f'({compiler.process(element.column, **more)}) COLLATE "C"'


def _by_bytes(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return ByBytes(column) if isinstance(column.type, sa.String) else column


Fields = Mapping[str, sa.ColumnElement[Any]]
"""Names that ``q`` and ``sort`` may use, and the columns they mean."""


def conditions(listing: Listing, fields: Fields) -> list[sa.ColumnElement[bool]]:
    """The WHERE of a list. Times are compared with columns of microseconds. Raises BadRequest."""
    return [_condition(term, fields[term.key]) for term in listing.terms if term.key in fields]


def _condition(term: Term, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    match term.how:
        case "like":
            text = sa.cast(column, sa.Text) if isinstance(column.type, sa.Integer) else column
            return text.icontains(term.text, autoescape=True)
        case "any":
            return sa.or_(sa.false(), *(_compared(column, operator.eq, value) for value in term.values))
        case "range":
            first, last = term.values
            ordered = _by_bytes(column)
            ends = [_compared(ordered, operator.ge, first)] if first is not None else []
            ends += [_compared(ordered, operator.le, last)] if last is not None else []
            return sa.and_(sa.true(), *ends)
    return sa.and_(sa.true(), *(_compared(column, operator.eq, value) for value in term.values))


def _compared(column: sa.ColumnElement[Any], how: Callable[[Any, Any], Any], value: Value | None) -> Any:
    """The column beside the value as the column keeps it; beside what cannot be one of its values nothing stands."""
    if not isinstance(column.type, sa.Integer):
        return how(column, _text(value))
    number = _number_of(value)
    return sa.false() if number is None else how(column, sa.literal(number, sa.BigInteger))


def _number_of(value: Value | None) -> int | None:
    if isinstance(value, datetime):
        return int(value.timestamp()) * 1_000_000
    return value if isinstance(value, int) else {"true": 1, "false": 0}.get(_text(value).lower())


def _text(value: Value | None) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%S") if isinstance(value, datetime) else "" if value is None else str(value)


async def page(
    database: Database,
    select: sa.Select[Any],
    listing: Listing,
    fields: Fields,
    *default: sa.ColumnElement[Any],
) -> tuple[Sequence[Row], int]:
    """One page of `select`, and how many rows all pages have: two statements, however many rows there are.

    `default` is the order where ``sort`` names nothing, names by their bytes; its last column should be unique, or
    pages overlap.
    """
    select = select.where(*conditions(listing, fields))
    counted = select.order_by(None).with_only_columns(sa.func.count(), maintain_column_froms=True)
    known = [(_by_bytes(fields[name]), down) for name, down in listing.order if name in fields]
    wanted = [column.desc() if down else column.asc() for column, down in known]
    ordered = select.order_by(None).order_by(*wanted, *(_by_bytes(each) for each in default))
    if listing.limit is not None:
        ordered = ordered.limit(listing.limit).offset(listing.offset)
    total = await database.row(counted)
    return await database.rows(ordered), int(total[0]) if total else 0
