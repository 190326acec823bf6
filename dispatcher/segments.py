"""How many billable segments a text is: the GSM-7 and UCS-2 arithmetic of 3GPP TS 23.038 and 23.040."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Encoding(StrEnum):
    """How a text travels: one encoding for the whole of it."""

    GSM_7 = "gsm-7"
    UCS_2 = "ucs-2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What a text comes to.

    `units` are septets in GSM-7 (two for each of the extension table), UTF-16 code units in UCS-2.
    """

    encoding: Encoding
    units: int
    segments: int
    characters: int  # Unicode code points


GSM_7_ALPHABET = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The default alphabet, one septet a character; the escape itself is no character of a text."""

GSM_7_EXTENSION = frozenset("\f^{}\\[~]|€")
"""The extension table: an escape septet and another."""

_GSM_7 = GSM_7_ALPHABET | GSM_7_EXTENSION
_EXTENSION = re.compile("[" + re.escape("".join(sorted(GSM_7_EXTENSION))) + "]")
_ESCAPE = "\x1b"
# Most texts are Latin-1, and deleting from bytes what costs one septet is the quickest test there is.
_ONE_SEPTET = "".join(sorted(GSM_7_ALPHABET)).encode("latin-1", "ignore")
_TWO_SEPTETS = "".join(sorted(GSM_7_EXTENSION)).encode("latin-1", "ignore")

_GSM_7_SINGLE, _GSM_7_PART = 160, 153
_UCS_2_SINGLE, _UCS_2_PART = 70, 67


def measure(text: str) -> Measure:
    """Return the encoding, units and segments of one text; an empty text is one segment of no units."""
    if _GSM_7.issuperset(text):
        encoding = Encoding.GSM_7
        units = len(text) + len(_EXTENSION.findall(text))
        segments = _gsm_7_segments(text, units)
    else:
        encoding = Encoding.UCS_2
        units = len(_utf_16(text)) // 2
        segments = _ucs_2_segments(text)
    return Measure(encoding=encoding, units=units, segments=segments, characters=len(text))


def count_segments(texts: Sequence[str]) -> list[int]:
    """Return the segments of every text, as `measure` would."""
    together = "".join(texts)
    if together.isascii() and not together.encode("ascii").translate(None, _ONE_SEPTET):
        lengths = list(map(len, texts))
        if max(lengths, default=0) <= _GSM_7_SINGLE:
            return [1] * len(lengths)
        return [1 if length <= _GSM_7_SINGLE else -(-length // _GSM_7_PART) for length in lengths]
    counts: list[int] = []
    append = counts.append
    for text in texts:
        try:
            costly = text.encode("latin-1").translate(None, _ONE_SEPTET)
        except UnicodeEncodeError:
            append(measure(text).segments)
            continue
        length = len(text)
        if not costly:
            append(1 if length <= _GSM_7_SINGLE else -(-length // _GSM_7_PART))
        elif costly.translate(None, _TWO_SEPTETS):
            # Latin-1 has no surrogates, so a character is one code unit and nothing can be split.
            append(1 if length <= _UCS_2_SINGLE else -(-length // _UCS_2_PART))
        else:
            append(_gsm_7_segments(text, length + len(costly)))
    return counts


def what_needs_ucs2(text: str) -> str:
    """Return the distinct characters that GSM-7 lacks, in order of appearance; empty if it lacks none."""
    if _GSM_7.issuperset(text):
        return ""
    return "".join(dict.fromkeys(character for character in text if character not in _GSM_7))


def utf16_units(text: str) -> int:
    """Return the length of a text in UTF-16 code units, by which providers count characters."""
    return len(text) if text.isascii() else len(_utf_16(text)) // 2


def _gsm_7_segments(text: str, units: int) -> int:
    if units <= _GSM_7_SINGLE:
        return 1
    if units == len(text):
        return -(-units // _GSM_7_PART)
    septets = _EXTENSION.sub(_ESCAPE + "_", text)
    segments, start = 0, 0
    while start < units:
        end = start + _GSM_7_PART
        # An escape may not be the last septet of a part: the pair moves to the next one.
        if end < units and septets[end - 1] == _ESCAPE:
            end -= 1
        segments, start = segments + 1, end
    return segments


def _ucs_2_segments(text: str) -> int:
    code_units = _utf_16(text)
    units = len(code_units) // 2
    if units <= _UCS_2_SINGLE:
        return 1
    if units == len(text):
        return -(-units // _UCS_2_PART)
    segments, start = 0, 0
    while start < units:
        end = start + _UCS_2_PART
        # Nor may a part end between the two halves of a surrogate pair; the first half is D800 to DBFF.
        if end < units and 0xD8 <= code_units[2 * end - 1] <= 0xDB:
            end -= 1
        segments, start = segments + 1, end
    return segments


def _utf_16(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")
