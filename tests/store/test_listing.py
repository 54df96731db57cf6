"""The grammars of ``q`` and ``sort``, and what they mean in SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from corereg.errors import BadRequest
from corereg.store.database import Database
from corereg.store.engines import connect
from corereg.store.listing import LARGEST_NUMBER, LONGEST_TEXT, MOST_TERMS, MOST_VALUES, Listing, Term, page, parse_q

NOON = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)

# ---- what is understood ----


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("  ", ()),
        (",,", ()),
        ("name=app", (Term("name", "is", ("app",)),)),
        ("name=~app", (Term("name", "like", ("app",)),)),
        ("name=~", (Term("name", "like", ("",)),)),
        ("size=5", (Term("size", "is", (5,)),)),
        ("size=-5", (Term("size", "is", (-5,)),)),
        ("size='5'", (Term("size", "is", ("5",)),)),
        ('size="5"', (Term("size", "is", ("5",)),)),
        ("size=9999999999999999999", (Term("size", "is", ("9999999999999999999",)),)),
        ("size=[1~5]", (Term("size", "range", (1, 5)),)),
        ("size=[1~]", (Term("size", "range", (1, None)),)),
        ("size=[~5]", (Term("size", "range", (None, 5)),)),
        ("size=[~]", (Term("size", "range", (None, None)),)),
        ("name={a b}", (Term("name", "any", ("a", "b")),)),
        ("name={'a b' c}", (Term("name", "any", ("'a", "b'", "c")),)),
        ("id=(1 2)", (Term("id", "all", (1, 2)),)),
        ("name={}", (Term("name", "any", ()),)),
        ("a=1,b=~x", (Term("a", "is", (1,)), Term("b", "like", ("x",)))),
        (" a = 1 , b = 2 ", (Term("a", "is", (1,)), Term("b", "is", (2,)))),
        (r"name=a\,b", (Term("name", "is", ("a,b",)),)),
        (r"name=\~a", (Term("name", "is", ("~a",)),)),
        (r"name=~\~a", (Term("name", "like", ("~a",)),)),
        (r"name=\{a\}", (Term("name", "is", ("{a}",)),)),
        ("a=b=c", (Term("a", "is", ("b=c",)),)),
        ("ProjectID=1", (Term("project_id", "is", (1,)),)),
        ("creationTime=[2020-01-02T03:04:05~]", (Term("creation_time", "range", (NOON, None)),)),
        ("t=2020-01-02 03:04:05", (Term("t", "is", (NOON,)),)),
        ("t=2020-13-45T99:99:99", (Term("t", "is", ("2020-13-45T99:99:99",)),)),
        ("size__gte=3", (Term("size", "range", (3, None)),)),
        ("size__gt=3", (Term("size", "range", (4, None)),)),
        ("size__lte=3", (Term("size", "range", (None, 3)),)),
        ("size__lt=3", (Term("size", "range", (None, 2)),)),
        ("name__icontains=App", (Term("name", "like", ("App",)),)),
        ("name__exact=App", (Term("name", "is", ("App",)),)),
        ("name__in=a", (Term("name", "any", ("a",)),)),
        ("name__in={a b}", (Term("name", "any", ("a", "b")),)),
        ("name%3Dapp%2Cb=1", (Term("name", "is", ("app",)), Term("b", "is", (1,)))),  # unescaped once more
        ("name=%7Eapp", (Term("name", "like", ("app",)),)),
    ],
)
def test_terms(text: str, terms: tuple[Term, ...]) -> None:
    assert parse_q(text) == terms


@pytest.mark.parametrize(
    "text",
    [
        *("name", "=", "=x", "name=", "name= ", "a=1,b", "a=x,="),
        *("a={x", "a=[1", "a=(1", "a=[1]", "a=[1~2~3]", "a=\0", "a=%00"),
    ],
)
def test_what_cannot_be_read_says_which_term(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_q(text)
    assert refused.value.status == 400
    assert refused.value.message.startswith("q: ")
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("q", "message"),
    [
        (",".join(["name=a"] * (MOST_TERMS + 1)), "q: 51 terms are too many"),
        (f"name={{{'a ' * (MOST_VALUES + 1)}}}", "q: 257 values are too many"),
        (f"id=({'1 ' * MOST_VALUES}),name=a", "q: 257 values are too many"),
        (f"name=~{'a' * (LONGEST_TEXT + 1)}", "q: a text of 4097 characters is too long"),
    ],
)
def test_more_than_a_database_takes(q: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        parse_q(q)


def test_more_names_to_sort_by_than_a_database_takes() -> None:
    with pytest.raises(BadRequest, match="sort: 51 names are too many"):
        _ = Listing(sort=",".join(["name"] * (MOST_TERMS + 1))).order


class Named(Listing, frozen=True, kw_only=True):
    """A list that is filtered by a part of the name."""

    name: str = ""


def test_a_part_of_a_name_that_is_longer_than_any_pattern() -> None:
    assert msgspec.convert({"name": "a" * LONGEST_TEXT}, Named).name
    with pytest.raises(BadRequest, match="name: a text of 4097 characters is too long"):
        msgspec.convert({"name": "a" * (LONGEST_TEXT + 1)}, Named)


MARKS = [*r"=,~[]{}()\'\"%", "name", "id", "__gt", "%5B", "2020-01-02T03:04:05", "0000-00-00T00:00:00", "9" * 30]
PARTS = st.one_of(st.text(max_size=6), st.sampled_from(MARKS))
NOISE = st.lists(PARTS, max_size=12).map("".join)


@given(NOISE)
@example("\ud800=1")
@example("0001-01-01T00:00:00=0001-01-01T00:00:00")
def test_no_text_makes_anything_but_terms_or_a_sentence(text: str) -> None:
    try:
        terms = parse_q(text)
    except BadRequest:
        return
    for term in terms:
        assert term.key
        assert all(isinstance(value, int | str | datetime | None) for value in term.values)
        assert isinstance(term.text, str)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("", ()),
        ("name", (("name", False),)),
        ("-name", (("name", True),)),
        ("+name", (("name", False),)),
        (" name , -id ", (("name", False), ("id", True))),
        ("-,,+", ()),
    ],
)
def test_sort(text: str, order: tuple[tuple[str, bool], ...]) -> None:
    assert Listing(sort=text).order == order


@pytest.mark.parametrize(("size", "limit"), [(10, 10), (100, 100), (0, None), (-1, None)])
def test_pages_of_everything(size: int, limit: int | None) -> None:
    assert Listing(page_size=size).limit == limit


@pytest.mark.parametrize(
    "wrong", [{"page_size": "101"}, {"page": "0"}, {"page": "x"}, {"page_size": "-2"}, {"page": str(2**63)}]
)
def test_pages_that_are_none(wrong: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Listing, strict=False)


# ---- what it means ----

things = sa.table(
    "things",
    sa.column("id", sa.BigInteger),
    sa.column("name", sa.Text),
    sa.column("flag", sa.Integer),
    sa.column("at", sa.BigInteger),
)
FIELDS = {"id": things.c.id, "name": things.c.name, "flag": things.c.flag, "creation_time": things.c.at}
NAMES = ["app", "App-2", "50%", "50x", "a_b", "axb", "o'brien", "back\\slash", "", "12"]
SECOND = 1_000_000
BEGIN = 1_600_000_000


@pytest.fixture(scope="module")
async def database(tmp_path_factory: pytest.TempPathFactory, corereg_database: str | None) -> AsyncIterator[Database]:
    """Rows 1 to 10; the flag of the last is not known."""
    folder: Path = tmp_path_factory.mktemp("listing")
    opened = connect(corereg_database or f"sqlite:{folder / 'test.db'}")
    await opened.open()
    columns = "id BIGINT, name TEXT, flag INTEGER, at BIGINT"
    async with opened.transaction() as tx:
        await tx.execute(sa.text("DROP TABLE IF EXISTS things"))
        await tx.execute(sa.text(f"CREATE TABLE things ({columns})"))
        for number, name in enumerate(NAMES, 1):
            flag = None if number == 10 else number % 2
            await tx.execute(sa.insert(things).values(id=number, name=name, flag=flag, at=(BEGIN + number) * SECOND))
    yield opened
    async with opened.transaction() as tx:
        await tx.execute(sa.text("DROP TABLE things"))
    await opened.close()


async def found(database: Database, **listing: Any) -> list[int]:
    rows, total = await page(database, sa.select(things.c.id), Listing(page_size=0, **listing), FIELDS, things.c.id)
    assert total == len(rows)
    return [row[0] for row in rows]


def moment(number: int) -> str:
    return datetime.fromtimestamp(BEGIN + number, UTC).strftime("%Y-%m-%dT%H:%M:%S")


EVERYTHING = list(range(1, 11))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("q", "numbers"),
    [
        ("name=app", [1]),
        ("name=~APP", [1, 2]),
        ("name=~%25", [3]),
        ("name=~_", [5]),
        ("name=~\\\\", [8]),
        ("name=~'", [7]),
        ("name=12", [10]),
        ("name='12'", [10]),
        ("id=3", [3]),
        ("id='3'", []),
        ("id=~1", [1, 10]),
        ("id=[2~4]", [2, 3, 4]),
        ("id=[9~]", [9, 10]),
        ("id=[~2]", [1, 2]),
        ("id=[4~2]", []),
        ("id=[~]", EVERYTHING),
        ("id={1 3 99}", [1, 3]),
        ("id={}", []),
        ("id=(3)", [3]),
        ("id=(3 4)", []),
        ("id=()", EVERYTHING),
        ("id__gt=8", [9, 10]),
        ("id=3,name=app", []),
        ("id=[1~3],name=~app", [1, 2]),
        ("name=[app~axb]", [1, 6]),
        ("flag=true", [1, 3, 5, 7, 9]),
        ("flag=0", [2, 4, 6, 8]),
        ("flag=2", []),
        ("flag=99999999999", []),
        ("flag=[~99999999999]", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("flag=perhaps", []),  # not those without one
        ("flag={perhaps 1}", [1, 3, 5, 7, 9]),
        ("id=three", []),
        ("id=[a~b]", []),
        ("id=[a~]", []),
        (f"id={'9' * 30}", []),
        (f"creation_time={moment(3)}", [3]),
        (f"creationTime=[{moment(3)}~{moment(5)}]", [3, 4, 5]),
        (f"creation_time=[~{moment(2)}]", [1, 2]),
        ("nobody_has=this", EVERYTHING),
        ("nobody_has=this,id=2", [2]),
        ("name=' OR 1=1 --", []),
        ("name=x' OR '1'='1", []),
        ("name=~'; DROP TABLE things; --", []),
        ("id=1 OR 1=1", []),
        ("id;DROP TABLE things=1", EVERYTHING),
        ("name) OR (1=1", EVERYTHING),
    ],
)
async def test_what_is_found(database: Database, q: str, numbers: list[int]) -> None:
    assert await found(database, q=q) == numbers


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sort", "numbers"),
    [
        ("-id", EVERYTHING[::-1]),
        ("id", EVERYTHING),
        ("nobody,-id", EVERYTHING[::-1]),
        ("id;DROP TABLE things", EVERYTHING),
        ("(SELECT 1)", EVERYTHING),
        ("-flag,-id", None),
    ],
)
async def test_how_it_is_sorted(database: Database, sort: str, numbers: list[int] | None) -> None:
    rows = await found(database, sort=sort, q="id=[~9]")
    assert rows == ([n for n in numbers if n < 10] if numbers else [9, 7, 5, 3, 1, 8, 6, 4, 2])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "q",
    [
        f"name={{{'b ' * MOST_VALUES}}}",
        f"name=({'b ' * MOST_VALUES})",
        ",".join([f"name=~{'%' * LONGEST_TEXT}"] * MOST_TERMS),
        ",".join([f"name={{{'b ' * (MOST_VALUES // MOST_TERMS)}}}"] * MOST_TERMS),
    ],
)
async def test_as_much_as_may_be_asked(database: Database, q: str) -> None:
    assert await found(database, q=q, sort=",".join(["name", "-id"] * (MOST_TERMS // 2))) == []


@pytest.mark.anyio
async def test_pages(database: Database) -> None:
    select = sa.select(things.c.id)
    for number, expected in ((1, [10, 9, 8]), (4, [1]), (5, []), (LARGEST_NUMBER, [])):
        listing = Listing(page=number, page_size=3, sort="-id")
        rows, total = await page(database, select, listing, FIELDS, things.c.id)
        assert ([row[0] for row in rows], total) == (expected, 10)


@pytest.mark.anyio
@given(NOISE, NOISE)
async def test_no_text_breaks_the_database(database: Database, q: str, sort: str) -> None:
    try:
        rows, total = await page(database, sa.select(things.c.id), Listing(q=q, sort=sort), FIELDS, things.c.id)
    except BadRequest:
        return
    assert len(rows) == min(total, 10)
