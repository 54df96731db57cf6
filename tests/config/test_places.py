"""Every key tomllib reads has its line, and nothing that only looks like a key has one."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corereg.config.places import locate
from corereg.config.problems import quote, quoted


def paths(value, path=()):
    """Every path of a read document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {path} if path else set()
    for key, item in inner:
        found |= paths(item, (*path, key))
    return found


DECEIVING = '''\
# [comment] # a = 1
top = 1 # [x]
[ server . tls ] # ]
text = """
[fake]
fake = 1 \\""" # still text
""" # end
literal = \'\'\'
[fake]
fake = "
\'\'\'\'\'
five = """a"""""
cert = "a # b = \\" c"
"quoted.key \\u00e9" = 1
'lit"eral' . b = 2
empty = "" # c
emptier = \'\'
[server]
port = [ # [
  1, # , 2
  "]", [ {a = 1, b . c = [2]},
  ], { },
]
when = 1979-05-27 07:32:00
[[list]]
a = 1
[[list.inner]]
b = 2
[[list.inner]]
b = 3
[list.inner.deep]
x = {y = {z = "}"}, w = 1}
[[list]]
inner = []
[a]
b.c = 1
b.d.e = 2
[a.f.g]
'''


def test_nothing_inside_a_value_is_a_key():
    document = tomllib.loads(DECEIVING)
    lines = locate(DECEIVING)
    assert set(lines) == paths(document)
    rows = DECEIVING.splitlines()
    for path, line in lines.items():
        if isinstance(path[-1], str) and path[-1].isidentifier():
            assert path[-1] in rows[line - 1]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("server",), 3),
        (("server", "tls", "literal"), 8),
        (("server", "tls", "five"), 12),
        (("server", "tls", "quoted.key é"), 14),
        (("server", "tls", 'lit"eral', "b"), 15),
        (("server", "port"), 19),
        (("server", "port", 0), 20),
        (("server", "port", 2, 0, "b", "c", 0), 21),
        (("server", "port", 3), 22),
        (("server", "when"), 24),
        (("list", 0, "inner", 1, "b"), 30),
        (("list", 0, "inner", 1, "deep", "x", "y", "z"), 32),
        (("list", 1, "inner"), 34),
        (("a", "b", "d", "e"), 37),
        (("a", "f"), 38),
    ],
)
def test_lines(path, line):
    assert locate(DECEIVING)[path] == line
    assert locate(DECEIVING.replace("\n", "\r\n"))[path] == line


NAMES = st.sampled_from(["a", "b", "server", "x-1", "a.b", "[c]", "d = 1", "#e", "é\n", "'", '"', "", "1"])
TEXTS = st.text(st.sampled_from("ab[]{}=#,.\n\"'\\ é"), max_size=12)
SCALARS = st.one_of(
    TEXTS.map(quote),
    TEXTS.filter(lambda text: "'" not in text and "\n" not in text).map(lambda text: f"'{text}'"),
    TEXTS.map(lambda text: '"""\n' + text.replace("\\", "\\\\").replace('"', '\\"') + '"""'),
    TEXTS.filter(lambda text: "'" not in text).map(lambda text: f"'''{text}'''"),
    st.sampled_from(['"""a"""""', "''''''", '""""""', "'''''a'''''", "'''a'''''", '"""\\\n  b"""']),
    st.sampled_from(["1", "true", "-1.5e3", "inf", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00", "07:32:00", "0xff"]),
)
GAPS = st.sampled_from(["", " ", "\n", " # [x] = '\n", "\n\n\t"])


@st.composite
def tables(draw, values):
    """An inline table, on one line but for its values."""
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    return "{ " + ", ".join(f"{quoted(name)} = {draw(values)}" for name in names) + " }"


@st.composite
def arrays(draw, values):
    items = draw(st.lists(values, max_size=3))
    gaps = [draw(GAPS) for _ in items]
    inside = "".join(f"{gap}{item}{gap}," for gap, item in zip(gaps, items, strict=True))
    return "[" + (inside if items else draw(GAPS)) + draw(GAPS) + "]"


VALUES = st.recursive(SCALARS, lambda inner: tables(inner) | arrays(inner), max_leaves=8)


@st.composite
def documents(draw):
    """Text and, for each key at a line's beginning, its line."""
    text, expected = "", {}
    headers = [(), *draw(st.lists(st.tuples(NAMES, NAMES), unique=True, max_size=4))]
    many = draw(st.sets(st.sampled_from(range(1, 5))))
    for at, header in enumerate(headers):
        times = draw(st.integers(1, 3)) if at in many and header else 1
        for index in range(times):
            table = header
            if header:
                outer = ("root", *header)
                text += draw(st.sampled_from(["", "\n", "# [no]\n"]))
                table = (*outer, index) if at in many else outer
                line = text.count("\n") + 1
                expected[table] = line
                expected.setdefault(outer, line)
                brackets = "[[ {} ]] # x\n" if at in many else "[{}]\n"
                text += brackets.format(" . ".join(map(quoted, outer)))
            for name in draw(st.lists(NAMES.filter(lambda name: name != "root"), unique=True, max_size=3)):
                key = f"k{name}" if header else f"top{name}"
                expected[*table, key] = text.count("\n") + 1
                text += f"  {quoted(key)}  = {draw(VALUES)} # end = [\n"
    return text, expected


@given(documents())
@settings(max_examples=300, deadline=None)
def test_any_document(made):
    text, expected = made
    document = tomllib.loads(text)
    lines = locate(text)
    assert set(lines) == paths(document)
    assert {path: lines[path] for path in expected} == expected


@given(st.text(st.sampled_from("[]{}=#,.\n\"'\\ ab1"), max_size=40))
@example("a=[}")
@example("a=[[}")
@example("a={b=]")
@example("a=[1,#\n}")
@example("a=")
def test_no_text_breaks_the_scanner(text):
    locate(text)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(locate(text)) == paths(document)


def test_deep_and_long_texts_end():
    assert locate("a = " + "[" * 100_000) is not None
    assert locate("a = '''" + "x" * 1_000_000) == {("a",): 1}
    assert locate("a = " + "1 " * 100_000)[("a",)] == 1
