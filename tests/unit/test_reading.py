"""Lists of text: what they are and what they are written in is told or guessed, and a guess is said."""

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import pytest

from dispatcher.errors import InputError, UsageError
from dispatcher.planning import Chunk, Format, Reading, open_recipients
from dispatcher.planning.reading import source

NUMBER = 447700900123


def read(content: bytes, **how: Any) -> tuple[Chunk, Sequence[str]]:
    with open_recipients(io.BytesIO(content), Reading(**how)) as opened:
        [chunk] = list(opened)
        return chunk, opened.notes


# --- Encodings ----------------------------------------------------------------------------------------------

LIST = "phone,name\n+447700900123,Renée\n"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (LIST.encode(), ""),
        (LIST.encode("utf-8-sig"), ""),
        (LIST.encode("utf-16"), ""),
        (b"\xfe\xff" + LIST.encode("utf-16-be"), ""),
        (LIST.encode("utf-16-le"), "read as UTF-16 LE, which it does not say"),
        (LIST.encode("utf-16-be"), "read as UTF-16 BE, which it does not say"),
        (LIST.encode("utf-32"), ""),
        (LIST.encode("cp1252"), "not UTF-8: read as Windows-1252 from line 2 on (é)"),
    ],
)
def test_an_encoding_is_told_or_guessed_and_then_said(content: bytes, note: str) -> None:
    chunk, notes = read(content)
    assert chunk.columns == {"phone": ["+447700900123"], "name": ["Renée"]}
    assert len(notes) == bool(note)
    assert note in "".join(notes)


def test_the_encoding_that_is_asked_for_decides() -> None:
    assert read(LIST.encode("cp850"), encoding="cp850")[0].columns["name"] == ["Renée"]
    assert read(LIST.encode("cp1252"), encoding="Windows-1252") == read(LIST.encode(), encoding="utf-8-sig")
    assert read("name\nJiří\n".encode("cp1250"), encoding="cp1250")[0].columns["name"] == ["Jiří"]
    assert read(LIST.encode("utf-16-le"), encoding="utf-16")[0].columns["name"] == ["Renée"]
    with pytest.raises(InputError, match="line 2: not ascii: say with --encoding"):
        read(LIST.encode(), encoding="ascii")
    for wrong in ("klingon", "hex", "a\0b"):
        with pytest.raises(UsageError, match="there is no such encoding"):
            read(LIST.encode(), encoding=wrong)


@pytest.mark.parametrize("name", ["MÜLLER", "Zoë L’Oréal", "Begoña – Köln", "10 €", "20°C", "Mª José", "naïve", "½"])
def test_a_plausible_text_is_windows_1252(name: str) -> None:
    assert read(f"name,a\n{name},b\n".encode("cp1252"))[0].columns["name"] == [name]


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("Привет", "cp1251"),
        ("Renée", "cp850"),
        ("José", "cp850"),
        ("Muñoz", "cp850"),
        ("Jürgen", "mac-roman"),
        ("Renée", "mac-roman"),
        ("Paweł", "cp1250"),
        ("Ayşe", "cp1254"),
        ("王小明", "gbk"),
        ("Γιώργος", "cp1253"),
        ("김철수", "euc-kr"),
        ("さとう", "shift-jis"),
    ],
)
def test_an_implausible_text_is_refused(name: str, encoding: str) -> None:
    with pytest.raises(InputError, match="line 3: not UTF-8, and not plausibly Windows-1252: say with --encoding"):
        read(f"name,a\nAnn,b\n{name},c\n".encode(encoding))


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
def test_a_character_beyond_ascii_may_come_late_and_at_any_place_of_a_block(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(source, "BLOCK", size)
    rows = [f"Ann{at}" for at in range(400)] + ["Zoë", "Renée"]
    chunk, [note] = read(("name,a\n" + "".join(f"{row},x\n" for row in rows)).encode("cp1252"))
    assert chunk.columns["name"] == rows
    assert "from line 402 on (ë é)" in note


def test_a_text_in_two_encodings_is_refused() -> None:
    with pytest.raises(InputError, match="line 3: not UTF-8: save"):
        read("name,a\nRenée,b\n".encode() + "Zoë,c\n".encode("cp1252"))


# --- What it is, by its first bytes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old Excel workbook"),
        (b"\x1f\x8b\x08abc", "compressed"),
        (b"%PDF-1.7", "a PDF"),
        (b"\n<html><table>", "a web page"),
        (b'<?xml version="1.0"?>', "a web page or XML"),
        (b'[{"phone": 1}]', "a JSON list"),
        (b'\xef\xbb\xbf[\n{"phone": 1}]', "a JSON list"),
        (b"PK\x05\x06" + bytes(18), "an empty zip"),
        (b"PK\x03\x04rest of a workbook", "damaged"),
        (b"PAR1 and more", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_list_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"standard input.*{message}"):
        read(content)


def test_a_zip_that_is_no_workbook_is_refused_by_name() -> None:
    for names, message in (
        (["a.txt"], "a zip archive"),
        (["mimetype"], "OpenDocument"),
        (["xl/workbook.bin"], "xlsb"),
        (["xl/workbook.xml"], "cannot be read as a workbook|damaged"),
    ):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as made:
            for name in names:
                made.writestr(name, "x")
        with pytest.raises(InputError, match=message):
            read(out.getvalue())


def test_the_format_that_is_asked_for_decides() -> None:
    assert read(b'{"a";b\n1;2\n', format=Format.CSV)[0].columns == {'{"a"': ["1"], "b": ["2"]}
    with pytest.raises(InputError, match="line 1: not a JSON object"):
        read(b"a,b\n1,2\n", format=Format.JSON_LINES)
    with pytest.raises(InputError, match="damaged, or not a workbook"):
        read(b"a,b\n1,2\n", format=Format.XLSX)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read(b"a,b\n1,2\n", format=Format.PARQUET)
    with pytest.raises(UsageError, match="has no sheets"):
        read(b"a,b\n1,2\n", sheet="People")
    for form in (Format.XLSX, Format.PARQUET):
        with pytest.raises(UsageError, match="knows its own encoding"):
            read(b"", format=form, encoding="utf-8")


def test_excel_says_its_delimiter_on_a_line_of_its_own() -> None:
    chunk, _ = read(b"sep=;\r\nphone;first, last\r\n1;Ann\r\n")
    assert (chunk.columns, chunk.lines) == ({"phone": ["1"], "first, last": ["Ann"]}, [3])
    assert read(b"sep=,\nsep=\n1\n")[0].columns == {"sep=": ["1"]}


# --- JSON Lines ---------------------------------------------------------------------------------------------


def test_json_lines() -> None:
    lines = [
        {"phone": NUMBER, "name": "Ann", "n": 12.0, "ok": True, "x": None},
        {"name": "Bob", "more": [1], "phone": 447700900124.0, "n": 1.5},
    ]
    content = "\n" + "\n \n".join(map(json.dumps, lines)) + "\n"
    chunk, [note] = read(content.encode())
    assert chunk.columns == {
        "phone": ["447700900123", "447700900124"],
        "name": ["Ann", "Bob"],
        "n": ["12", "1.5"],
        "ok": ["TRUE", ""],
        "x": ["", ""],
    }
    assert (chunk.rows, chunk.lines) == ([1, 2], [2, 4])
    assert "left out: more (line 4)" in note
    assert read(content.encode("utf-16"))[0] == chunk


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"phone": 1}\n{"phone": [1]}\n', "line 2: phone is a list or an object"),
        (b'{"phone": {"a": 1}}\n', "line 1: phone is a list or an object"),
        (b'{"phone": 1}\n\n{"phone": 1\n', "line 3: not a JSON object on one line"),
        (b'{\n"phone": 1\n}\n', "line 1: an object over several lines"),
        (b'{"phone": 1}\n[1]\n', "line 2: a JSON list"),
        (b'{"phone": 1}\n"x"\n', "line 2: not a JSON object"),
        (b'{"phone": 1, "": 2}\n', "line 1: (a key|column 2) "),
        (b'{"phone": 1, "phone ": 2}\n', "line 1: two columns are named phone"),
        (b'{"phone": "\\ud800"}\n', "line 1: not a JSON object"),
        (b"{}\n", "line 1: the header names no columns"),
    ],
)
def test_json_lines_that_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(content)
