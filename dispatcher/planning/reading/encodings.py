"""Which encoding a text is in: told by its first bytes, asked for, or Windows-1252 where that is plausible."""

import codecs
import re

from dispatcher.errors import UsageError

_MARKS = (
    # The longer mark first: that of UTF-32 LE begins as that of UTF-16 LE.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHARACTERS_SHOWN = 8
_SUSPICIOUS_SHARE = 0.05


def find_codec(asked: str) -> str:
    """Return Python's name of the encoding that a person names.

    Raises:
        UsageError: there is no such encoding of text.
    """
    try:
        name = codecs.lookup(asked).name
        "a".encode(name)  # not all that there is under such names is an encoding of text
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {asked}: there is no such encoding: say, for example, utf-8, windows-1252 or utf-16"
        ) from None
    return name


def marked(beginning: bytes) -> str | None:
    """Return the encoding that a byte order mark tells; None where there is none."""
    return next((codec for mark, codec in _MARKS if beginning.startswith(mark)), None)


def looks_like_utf16(beginning: bytes) -> str | None:
    """Return the UTF-16 that bytes without a mark are in: a list has digits and line ends, with a NUL in each."""
    whole = beginning[: len(beginning) // 2 * 2]
    first, second = whole[::2].count(0), whole[1::2].count(0)
    units = len(whole) // 2
    for nuls, others, codec in ((second, first, "utf-16-le"), (first, second, "utf-16-be")):
        if units and nuls >= 0.4 * units and others <= 0.01 * units:
            text = whole.decode(codec, "ignore")
            if ("\n" in text or "\r" in text) and all(sign.isprintable() or sign.isspace() for sign in text):
                return codec
    return None


# --- Windows-1252 -------------------------------------------------------------------------------------------

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
# What shows that the bytes meant something else: each is rare in a language that Windows-1252 is written for,
# and is what letters of its neighbours (code pages 437 and 850, Mac Roman, Windows-1250, -1251, -1254) turn into.
_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿŠšŽžŒœŸ"
_SUSPICIOUS = re.compile(
    "|".join(
        (
            "[À-ÖØ-öø-ÿŠšŽžŒœŸ]{4,}",  # a whole word of them: another script
            f"(?<=[{_LETTERS}])[¡-©«-´µ-¹»-¿×÷ƒ„†‡ˆ‰‹›˜•“”](?=[{_LETTERS}])",  # a sign within a word
            "(?<=[a-zà-öø-ÿ])[À-ÖØ-ÞŠŽŒŸ]",  # a capital within a word
            f"(?<=[{_LETTERS}])‚",
            f"[£¹³](?=[{_LETTERS}])",
            "(?<=[a-z]{2})[¹³]",
            "[¤ƒŸðþÐÞ]",
        )
    )
)


class Windows1252:
    """Watches a text that is read as Windows-1252 for lack of a better guess."""

    def __init__(self, line: int) -> None:
        self.line = line
        """Where the first character beyond ASCII stands."""
        self._seen: dict[str, None] = {}  # in order of appearance
        self._beyond = self._odd = 0

    def plausible(self, text: str) -> bool:
        """Take in some more of the text, and return whether all of it so far may well be Windows-1252."""
        words = " ".join(word for word in text.split() if not word.isascii())
        if found := _BEYOND_ASCII.findall(words):
            self._beyond += len(found)
            self._odd += sum(map(len, _SUSPICIOUS.findall(words)))
            if len(self._seen) <= _CHARACTERS_SHOWN:
                self._seen.update(dict.fromkeys(found))
        return self._odd <= _SUSPICIOUS_SHARE * self._beyond

    def note(self) -> str:
        """Return what to tell the person, with the characters by which a wrong guess is seen."""
        signs = [sign for sign in self._seen if sign.isprintable()]
        shown = " ".join(signs[:_CHARACTERS_SHOWN]) + (" …" if len(signs) > _CHARACTERS_SHOWN else "")
        return f"not UTF-8: read as Windows-1252 from line {self.line} on ({shown}); if that is wrong, say --encoding"
