"""The stand-ins' own count of a text's segments, written apart from the dispatcher's so as to check it."""

import re
from collections.abc import Callable

_GSM_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENSION = "\f^{}\\[~]|€"
_PLAIN_TEXT = re.compile(f"[{re.escape(_GSM_BASIC)}]*")
_GSM_TEXT = re.compile(f"[{re.escape(_GSM_BASIC + _GSM_EXTENSION)}]*")


def segments(text: str) -> int:
    """Return how many segments a text is sent in, at least 1.

    GSM 03.38 where every character is in it (160 septets alone, 153 a part; an escaped character takes two),
    UCS-2 otherwise (70 code units alone, 67 a part). Neither an escape nor a surrogate pair is cut in two.
    """
    if _PLAIN_TEXT.fullmatch(text):
        return 1 if len(text) <= 160 else -(-len(text) // 153)
    if _GSM_TEXT.fullmatch(text):
        doubles = sum(map(text.count, _GSM_EXTENSION))
        return _parts(text, len(text) + doubles, doubles, alone=160, each=153, double=_GSM_EXTENSION.__contains__)
    units = len(text.encode("utf-16-le")) // 2
    return _parts(text, units, units - len(text), alone=70, each=67, double=_is_astral)


def _is_astral(character: str, /) -> bool:
    return ord(character) > 0xFFFF


def _parts(text: str, units: int, doubles: int, *, alone: int, each: int, double: Callable[[str], bool]) -> int:
    if units <= alone:
        return 1
    if not doubles:
        return -(-units // each)
    parts, room = 1, each
    for character in text:
        width = 2 if double(character) else 1
        if width > room:
            parts, room = parts + 1, each
        room -= width
    return parts
