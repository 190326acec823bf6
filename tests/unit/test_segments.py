import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.segments import (
    GSM_7_ALPHABET,
    GSM_7_EXTENSION,
    Encoding,
    count_segments,
    measure,
    utf16_units,
    what_needs_ucs2,
)

GSM = "".join(sorted(GSM_7_ALPHABET))
EXTENSION = "".join(sorted(GSM_7_EXTENSION))


def packed_by_hand(text: str) -> tuple[str, int, int]:
    """The encoding, units and segments, found by putting one character after another into parts."""
    if all(character in GSM or character in EXTENSION for character in text):
        encoding, single, part = "gsm-7", 160, 153
        costs = [2 if character in EXTENSION else 1 for character in text]
    else:
        encoding, single, part = "ucs-2", 70, 67
        costs = [2 if ord(character) > 0xFFFF else 1 for character in text]
    if sum(costs) <= single:
        return encoding, sum(costs), 1
    segments, room = 1, part
    for cost in costs:
        if cost > room:
            segments, room = segments + 1, part
        room -= cost
    return encoding, sum(costs), segments


def test_the_alphabets_have_the_sizes_of_the_standard() -> None:
    assert len(GSM_7_ALPHABET) == 127  # 128 less the escape
    assert len(GSM_7_EXTENSION) == 10


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        ("", Encoding.GSM_7, 0, 1),
        ("a", Encoding.GSM_7, 1, 1),
        ("a" * 160, Encoding.GSM_7, 160, 1),
        ("a" * 161, Encoding.GSM_7, 161, 2),
        ("a" * 306, Encoding.GSM_7, 306, 2),
        ("a" * 307, Encoding.GSM_7, 307, 3),
        ("a" * 459, Encoding.GSM_7, 459, 3),
        ("é" * 160, Encoding.GSM_7, 160, 1),
        ("Δ" * 161, Encoding.GSM_7, 161, 2),
        ("€" * 80, Encoding.GSM_7, 160, 1),
        ("€" * 81, Encoding.GSM_7, 162, 2),
        ("\f", Encoding.GSM_7, 2, 1),
        ("[]{}^~\\|", Encoding.GSM_7, 16, 1),
        # Septets 153 and 154 would be one escape pair: the first part holds 152, and a third part begins.
        ("a" * 152 + "{" + "a" * 151, Encoding.GSM_7, 305, 2),
        ("a" * 152 + "{" + "a" * 152, Encoding.GSM_7, 306, 3),
        ("a" * 151 + "{" + "a" * 153, Encoding.GSM_7, 306, 2),
        # 76 pairs and one septet left over in every part.
        ("€" * 152, Encoding.GSM_7, 304, 2),
        ("€" * 153, Encoding.GSM_7, 306, 3),
        ("ç", Encoding.UCS_2, 1, 1),
        ("`", Encoding.UCS_2, 1, 1),
        ("\t", Encoding.UCS_2, 1, 1),
        ("\x1b", Encoding.UCS_2, 1, 1),
        ("\u2019" * 70, Encoding.UCS_2, 70, 1),
        ("\u2019" * 71, Encoding.UCS_2, 71, 2),
        ("\u2019" * 134, Encoding.UCS_2, 134, 2),
        ("\u2019" * 135, Encoding.UCS_2, 135, 3),
        ("ê" * 135, Encoding.UCS_2, 135, 3),
        ("🎉" * 35, Encoding.UCS_2, 70, 1),
        ("🎉" * 36, Encoding.UCS_2, 72, 2),
        # 33 pairs and one unit left over in every part.
        ("🎉" * 66, Encoding.UCS_2, 132, 2),
        ("🎉" * 67, Encoding.UCS_2, 134, 3),
        ("a" * 66 + "🎉" + "a" * 65, Encoding.UCS_2, 133, 2),
        ("a" * 66 + "🎉" + "a" * 66, Encoding.UCS_2, 134, 3),
        # The brackets cost one each as soon as the text is UCS-2.
        ("🎉[[", Encoding.UCS_2, 4, 1),
    ],
)
def test_known_texts(text: str, encoding: Encoding, units: int, segments: int) -> None:
    found = measure(text)
    assert (found.encoding, found.units, found.segments) == (encoding, units, segments)
    assert found.characters == len(text)
    assert count_segments([text]) == [segments]
    assert packed_by_hand(text) == (encoding, units, segments)


def test_a_lone_surrogate_is_measured_and_not_a_traceback() -> None:
    assert measure("\ud800" * 80).segments == count_segments(["\ud800" * 80])[0]


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("", ""),
        ("plain €^{}", ""),
        ("naïve ï façade", "ïç"),
        ("it\u2019s 🎉\u2019", "\u2019🎉"),
        ("`\t", "`\t"),
    ],
)
def test_what_needs_ucs2(text: str, needs: str) -> None:
    assert what_needs_ucs2(text) == needs


@pytest.mark.parametrize(("text", "units"), [("", 0), ("abc", 3), ("é€", 2), ("a🎉", 3)])
def test_utf16_units(text: str, units: int) -> None:
    assert utf16_units(text) == units


alphabets = st.sampled_from(
    [GSM, EXTENSION, GSM + EXTENSION * 8, "aé€[", "a\u2019", "a🎉", "ab`", "aç[", "€Ω🎉\u2019é{`a"]
)


@st.composite
def long_texts(draw: st.DrawFn) -> str:
    """Texts around the borders of segments, where packing matters."""
    alphabet = draw(alphabets)
    pieces = draw(st.lists(st.tuples(st.sampled_from(alphabet), st.integers(1, 80)), max_size=12))
    return "".join(character * times for character, times in pieces)


@given(st.one_of(long_texts(), st.text(), st.text(min_size=60, max_size=400)))
@example("a" * 152 + "{" + "a" * 152)
def test_the_fast_paths_agree_with_packing_by_hand(text: str) -> None:
    encoding, units, segments = packed_by_hand(text)
    found = measure(text)
    assert (found.encoding, found.units, found.segments) == (encoding, units, segments)
    assert count_segments([text, text]) == [segments, segments]
    assert bool(what_needs_ucs2(text)) == (encoding == "ucs-2")
