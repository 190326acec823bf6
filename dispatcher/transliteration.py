"""Puts look-alikes of the GSM-7 alphabet in the place of characters that would make a text travel as UCS-2."""

import unicodedata
from functools import lru_cache

from dispatcher.segments import what_needs_ucs2

_SAME = (
    ('"', "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u301d\u301e\uff02"),
    ("'", "\u2018\u2019\u201a\u201b\u2032\u2039\u203a\u00b4`\u02bc\uff07"),
    ("-", "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63\uff0d"),
    (" ", "\t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"),
    ("\n", "\u0085\u2028\u2029"),
    ("", "\u00ad\u200b\u2060\ufeff"),
    ("*", "\u2022\u2023\u25cf\u25aa"),
    (".", "\u00b7\u2024"),
    (",", "\uff0c"),
    ("/", "\u2044\u2215"),
    (":", "\uff1a\u2236"),
    (";", "\uff1b\u037e"),
    ("!", "\uff01"),
    ("?", "\uff1f"),
    ("|", "\u00a6"),
    ("x", "\u00d7"),
    ("...", "\u2026"),
    ("..", "\u2025"),
    ("!!", "\u203c"),
    ("(c)", "\u00a9"),
    ("(R)", "\u00ae"),
    ("TM", "\u2122"),
    ("No.", "\u2116"),
    # Letters that Unicode does not take apart.
    *zip(
        ("OE", "oe", "SS", "D", "D", "d", "d", "H", "h", "i", "L", "l", "N", "n", "T", "t", "TH", "th"),
        "\u0152\u0153\u1e9e\u0110\u00d0\u0111\u00f0\u0126\u0127\u0131\u0141\u0142\u014a\u014b\u0166\u0167\u00de\u00fe",
        strict=True,
    ),
    # Greek capitals that look like Latin ones; the others are in the alphabet.
    *zip(
        "ABEZHIKMNOPTYX",
        "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
        strict=True,
    ),
)
_TABLE = {character: like for like, characters in _SAME for character in characters}


def transliterate(text: str) -> str:
    """Return a text with GSM-7 look-alikes for what GSM-7 lacks; what has none, and every brace, stays as it is.

    Where a look-alike would say something else (a raised 2, a half, an emoji), there is none.
    """
    if not what_needs_ucs2(text):
        return text
    return "".join(map(_like, unicodedata.normalize("NFC", text)))


@lru_cache(maxsize=4096)
def _like(character: str) -> str:
    if not what_needs_ucs2(character):
        return character
    if (found := _TABLE.get(character)) is not None:
        return found
    # Of letters and digits the mark may go, and what a special form of them stands for may come.
    if unicodedata.category(character)[0] not in "LM" and unicodedata.category(character) != "Nd":
        return character
    bare = "".join(
        _TABLE.get(one, one) for one in unicodedata.normalize("NFKD", character) if not unicodedata.combining(one)
    )
    return bare if bare and not what_needs_ucs2(bare) and not {"{", "}"} & set(bare) else character
