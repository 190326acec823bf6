import hashlib
import io
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import InputError
from dispatcher.planning import recipients
from dispatcher.planning.reading import source
from dispatcher.planning.recipients import Chunk, open_recipients


def read(content: bytes) -> list[Chunk]:
    with open_recipients(io.BytesIO(content)) as opened:
        return list(opened)


def read_one(content: bytes) -> Chunk:
    [chunk] = read(content)
    return chunk


def test_a_plain_list(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    content = b"phone,first_name\n+12025550123,Ann\n+12025550124,Bob\n"
    path.write_bytes(content)
    with open_recipients(path) as opened:
        assert opened.header == ("phone", "first_name")
        with pytest.raises(RuntimeError):
            _ = opened.fingerprint
        [chunk] = list(opened)
        assert opened.fingerprint == hashlib.sha256(content).hexdigest()
    assert chunk.rows == [1, 2]
    assert chunk.lines == [2, 3]
    assert chunk.columns == {"phone": ["+12025550123", "+12025550124"], "first_name": ["Ann", "Bob"]}


@pytest.mark.parametrize(
    ("content", "columns", "lines"),
    [
        (b"\xef\xbb\xbfphone\n1\n", {"phone": ["1"]}, [2]),
        (b"a;b\n1;2,5\n", {"a": ["1"], "b": ["2,5"]}, [2]),
        (b"a\tb\n1\t2,5\n", {"a": ["1"], "b": ["2,5"]}, [2]),
        (b"a|b\n1|2\n", {"a": ["1"], "b": ["2"]}, [2]),
        (b'"x,y,z";b\n1;2\n', {"x,y,z": ["1"], "b": ["2"]}, [2]),
        (b"a,b\r\n1,2\r\n3,4\r\n", {"a": ["1", "3"], "b": ["2", "4"]}, [2, 3]),
        (b"a,b\r1,2\r3,4", {"a": ["1", "3"], "b": ["2", "4"]}, [2, 3]),
        (b"a,b\n1,2", {"a": ["1"], "b": ["2"]}, [2]),
        # blank lines are no rows, but are lines; a row of empty cells is a row
        (b"\n\na,b\n\n1,2\n  \n3,4\n\n", {"a": ["1", "3"], "b": ["2", "4"]}, [5, 7]),
        (b"a\n\n1\n \n2\n", {"a": ["1", "2"]}, [3, 5]),
        (b"a,b\n,\n1,2\n", {"a": ["", "1"], "b": ["", "2"]}, [2, 3]),
        # quotes
        (b'a,b\n1,"x, y"\n', {"a": ["1"], "b": ["x, y"]}, [2]),
        (b'a,b\n1,"Robert ""Bob"""\n', {"a": ["1"], "b": ['Robert "Bob"']}, [2]),
        (b'a,b\n1,Bob "B"\n', {"a": ["1"], "b": ['Bob "B"']}, [2]),
        (
            b'a,b\n1,"x\ny"\n2,z\n3,"p\r\nq\rr"\n4,s\n',
            {"a": [*"1234"], "b": ["x\ny", "z", "p\r\nq\rr", "s"]},
            [2, 4, 5, 8],
        ),
        (b'"a\nb",c\n1,2\n', {"a\nb": ["1"], "c": ["2"]}, [3]),
        # ragged rows, and the empty columns that spreadsheets leave at the right
        (b"a,b,c\n1\n1,2\n1,2,3,,\n", {"a": ["1", "1", "1"], "b": ["", "2", "2"], "c": ["", "", "3"]}, [2, 3, 4]),
        (b"a,b,,\n1,2,,\n", {"a": ["1"], "b": ["2"]}, [2]),
        (b" a , b\n 1 ,2\n", {"a": [" 1 "], "b": ["2"]}, [2]),
        # separators of Unicode do not end a line
        ("a,b\n1,x\u2028y\x0bz\x85\n".encode(), {"a": ["1"], "b": ["x\u2028y\x0bz\x85"]}, [2]),
    ],
)
def test_what_is_read(content: bytes, columns: dict[str, list[str]], lines: list[int]) -> None:
    chunk = read_one(content)
    assert chunk.columns == columns
    assert chunk.lines == lines
    assert chunk.rows == list(range(1, len(lines) + 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "standard input is empty"),
        (b"\n \n\n", "standard input is empty"),
        (b"\xef\xbb\xbf", "standard input is empty"),
        (b"phone\n", "a header but no recipient"),
        (b"phone\n\n\n", "a header but no recipient"),
        (b",,\n1,2,3\n", "line 1: the header names no columns"),
        (b"\na,,b\n1,2,3\n", "line 2: column 2 has no name"),
        (b"a,b,a\n1,2,3\n", "line 1: two columns are named a"),
        (b"+12025550123,Ann\n", "line 1: there is a number where the header should be"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: 3 cells, but the header has 2 columns: put a value with a comma"),
        (b'a,b\n1,"x\ny"\n1,2,3\n', "line 4: 3 cells"),
        ("a,b\né,2\n3,".encode() + b"\xe9\n", "line 3: not UTF-8: save the list as CSV UTF-8"),
        ("a,b\ré,2\r3,".encode() + b"\xe9\r", "line 3: not UTF-8"),
        (b"\xef\xbb\xbfa,b\r\n1,\xe9\r\n", "line 2: not UTF-8"),
        ("a,b\né,2\n3,".encode() + b"\xc3", "line 3: not UTF-8"),
        (b"a,b\n1,2\n3,\0\n", "line 3: a NUL byte"),
        (b'a,b\n1,2\n3,"x\n5,6\n7,8\n', "line 3: a quote is opened here and never closed"),
        (b'a,b\n1,"x\ny"\n3,"x"y\n', "line 4: a quote within quotes"),
        (b'a,b\n1,2\n3,"' + b"x\n" * 70_000 + b'"\n', "line 3: a cell longer than 131,072 characters"),
        (b"a,b\n1,2\n3," + b"x" * 200_000 + b"\n", "line 3: a cell longer than"),
        (b"a,b\n1,2\n3," + b"x" * 10_000_000 + b"\n", "line 3: longer than"),
    ],
)
def test_what_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(content)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "no.csv", "there is no file"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=message), open_recipients(path):
            pass
    with pytest.raises(InputError, match="cannot be opened"), open_recipients(Path("x" * 5000)):
        pass
    with pytest.raises(InputError, match="cannot be opened"), open_recipients(Path("a\0b")):
        pass


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="may not be read"), open_recipients(tmp_path / "list.csv"):
        pass


def test_a_disk_that_fails_while_reading() -> None:
    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match="Input/output error"), open_recipients(Failing()):  # type: ignore[arg-type]
        pass


def test_chunks_continue_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipients, "CHUNK_ROWS", 3)
    chunks = read(b"a\n1\n2\n3\n\n\n\n\n4\n5\n6\n")
    assert [chunk.rows for chunk in chunks] == [[1, 2, 3], [4, 5], [6]]
    assert [chunk.lines for chunk in chunks] == [[2, 3, 4], [9, 10], [11]]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_blocks_are_seamless(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    expected = [f"é🎉{number}" for number in range(200)]
    content = ending.join(["a,b", *(f"{name},{at}" for at, name in enumerate(expected))]).encode()
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr(source, "BLOCK", size)
        chunk = read_one(content)
        assert chunk.columns["a"] == expected
        assert chunk.lines == list(range(2, 202))
        with pytest.raises(InputError, match="line 202: not UTF-8"):
            read(content + ending.encode() + b"\xff")


def test_memory_holds_for_an_endless_line() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return b"x" * size

    with pytest.raises(InputError, match="line 1: longer than"), open_recipients(Endless()):  # type: ignore[arg-type]
        pass


scraps = st.sampled_from(
    [b"a", b",", b";", b"\n", b"\r", b"\r\n", b'"', b'""', b"\xc3\xa9", b"\xff", b"\0", b" ", b"1234567"]
)


@settings(max_examples=500)
@given(st.one_of(st.binary(max_size=300), st.lists(scraps, max_size=60).map(b"".join)), st.integers(1, 64))
def test_any_bytes_are_read_or_refused(content: bytes, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK", block)
        try:
            with open_recipients(io.BytesIO(content)) as opened:
                chunks = list(opened)
                fingerprint = opened.fingerprint
        except InputError:
            return
    assert fingerprint == hashlib.sha256(content).hexdigest()
    for chunk in chunks:
        assert {len(column) for column in chunk.columns.values()} == {len(chunk.rows)} == {len(chunk.lines)}
        assert chunk.lines == sorted(set(chunk.lines))


def test_any_byte_may_be_damaged_in_a_real_list() -> None:
    chance = random.Random(5)
    content = 'phone,name\n+12025550123,"Ann, é"\n+12025550124,Bob 🎉\n'.encode()
    for _ in range(2000):
        damaged = bytearray(content)
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            read(bytes(damaged))
        except InputError as error:
            assert "standard input" in str(error)  # noqa: PT017
