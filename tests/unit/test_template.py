import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.template import (
    Template,
    TemplateError,
    clean,
    compile_template,
    match_field,
    pack_fields,
    unpack_fields,
)


def render_one(text: str, **values: str) -> str:
    [rendered] = compile_template(text).render({name: [value] for name, value in values.items()}, 1)
    return rendered


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("Sale today", {}, "Sale today"),
        ("Hi {name}", {"name": "Ann"}, "Hi Ann"),
        ("{name}", {"name": "Ann"}, "Ann"),
        ("{ name }!", {"name": "Ann"}, "Ann!"),
        ("{a}{b}{a}", {"a": "x", "b": "y"}, "xyx"),
        ("Hi {name|there}", {"name": ""}, "Hi there"),
        ("Hi {name|there}", {"name": "Ann"}, "Hi Ann"),
        ("Hi{name|}", {"name": ""}, "Hi"),
        ("{name|a|b}", {"name": ""}, "a|b"),
        ("{name| dear }", {"name": ""}, " dear "),
        ("{{name}}", {}, "{name}"),
        ("{{{name}}}", {"name": "Ann"}, "{Ann}"),
        ("100 %s {name} \\1", {"name": "%d \\g<0> {a}"}, "100 %s %d \\g<0> {a} \\1"),
        ("Prénom: {name} 🎉", {"name": "Zoë"}, "Prénom: Zoë 🎉"),
        ("line\n{name}", {"name": "x"}, "line\nx"),
    ],
)
def test_render(text: str, values: dict[str, str], expected: str) -> None:
    assert render_one(text, **values) == expected


def test_what_a_template_knows_of_itself() -> None:
    template = compile_template("Hi {name|there}, {town} {name} {code|}")
    assert template.fields == ("name", "town", "code")
    assert template.required == ("town", "name")
    assert template.personalised
    assert not compile_template("Hi {{name}}").personalised
    assert compile_template("Hi {{name}}").fields == ()
    assert hash(template) == hash(compile_template(template.text))


def test_columns() -> None:
    template = compile_template("Hi {name|you}, {town}")
    columns = {"name": ["Ann", "", "Bob"], "town": ["A", "B", "C"], "other": ["1", "2", "3"]}
    assert template.render(columns, 3) == ["Hi Ann, A", "Hi you, B", "Hi Bob, C"]
    assert template.render({"name": [], "town": []}, 0) == []
    assert compile_template("Sale").render({}, 3) == ["Sale"] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("Hi {name", r"character 4: \{ is not closed"),
        ("Hi {", r"character 4: \{ is not closed"),
        ("Hi {na{me}", r"character 4: \{ is not closed"),
        ("Hi {}", "character 4: a placeholder without a name"),
        ("Hi { |x}", "character 4: a placeholder without a name"),
        ("Hi name}", r"character 8: \} without a \{; write \}\}"),
        ("{name}}", r"character 7: \}"),
        ("Hi \udcff", "character 4 is not valid text"),
    ],
)
def test_a_wrong_text_is_refused_with_the_place_and_the_remedy(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        compile_template(text)


@pytest.mark.parametrize("columns", [{}, {"name": ["only one"]}, {"name": ["a", ""]}])
def test_a_missing_value_is_never_rendered(columns: dict[str, list[str]]) -> None:
    with pytest.raises(TemplateError, match=re.escape("{name}")):
        compile_template("Hi {name}").render(columns, 2)


@pytest.mark.parametrize(
    ("wanted", "names", "found"),
    [
        ("name", ["phone", "name"], "name"),
        ("first_name", ["First Name"], "First Name"),
        ("First Name", ["first_name"], "first_name"),
        ("first-name", ["FIRST  NAME "], "FIRST  NAME "),
        ("name", ["Name", "name"], "name"),
        ("name", ["surname"], None),
        ("name", [], None),
    ],
)
def test_match_field(wanted: str, names: list[str], found: str | None) -> None:
    assert match_field(wanted, names) == found


def test_an_ambiguous_field_is_refused() -> None:
    with pytest.raises(TemplateError, match="may be any of First Name, first name"):
        match_field("first_name", ["First Name", "first name"])


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("  Ann ", "Ann"),
        ("\u00a0Ann\u3000", "Ann"),
        ("a\r\nb", "a b"),
        ("a\tb\x00c\x1b\x7f\x9fd", "a bcd"),
        ("\x00 Ann \x01", "Ann"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("\x00", ""),
        ("", ""),
    ],
)
def test_clean(value: str, cleaned: str) -> None:
    assert clean([value]) == [cleaned]
    assert clean(["Ann", value, ""]) == ["Ann", cleaned, ""]


columns_of_text = st.dictionaries(st.text(max_size=8), st.lists(st.text(max_size=30), max_size=40), max_size=4)


@given(columns_of_text)
def test_packed_fields_come_back(columns: dict[str, list[str]]) -> None:
    assert unpack_fields(pack_fields(columns)) == columns


def test_many_fields_are_compressed_and_few_are_not() -> None:
    many = {"name": ["Ann"] * 1000}
    assert len(pack_fields(many)) < 200
    assert unpack_fields(pack_fields(many)) == many
    assert pack_fields({"name": ["Ann"]}) == b'{"name":["Ann"]}'


def by_regular_expression(template: Template, row: dict[str, str]) -> str:
    """What a template means, said the slow way."""

    def value(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        field, bar, default = found[0][1:-1].partition("|")
        return row[field.strip()] or (default if bar else "")

    return re.sub(r"\{\{|\}\}|\{[^{}]*\}", value, template.text)


pieces = st.one_of(
    st.sampled_from(["{a}", "{b}", "{a|x}", "{ b |}", "{b|y z}", "{{", "}}"]),
    st.text(max_size=6).map(lambda text: text.replace("{", "").replace("}", "")),
)


@given(
    st.lists(pieces, max_size=12).map("".join).filter(str.strip),
    st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=5)), max_size=5),
)
def test_render_agrees_with_the_slow_way(text: str, rows: list[tuple[str, str]]) -> None:
    try:
        template = compile_template(text)
    except TemplateError:
        return  # pieces that meet as {{{ or }}} in another sense
    filled = [{"a": a, "b": b or "-"} for a, b in rows]
    columns = {name: [row[name] for row in filled] for name in "ab"}
    assert template.render(columns, len(rows)) == [by_regular_expression(template, row) for row in filled]


@given(st.text())
def test_any_text_compiles_or_is_refused(text: str) -> None:
    with suppress(TemplateError):
        template = compile_template(text)
        template.render({field: ["v"] for field in template.fields}, 1)
