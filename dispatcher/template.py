"""The text of a campaign with its {placeholders}: compiled once, rendered in columns."""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat

import msgspec


class TemplateError(ValueError):
    """The text cannot be used; the message says at which character (from 1) and how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholder:
    """One {field} or {field|default} of a text. `default` is None where there is none."""

    field: str
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A compiled text: literals and placeholders in turn."""

    text: str  # as the user wrote it
    parts: tuple[str | Placeholder, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names in the placeholders, each once, in order of first use."""
        return tuple(dict.fromkeys(part.field for part in self.parts if isinstance(part, Placeholder)))

    @property
    def required(self) -> tuple[str, ...]:
        """The fields of which every row needs a value, because a placeholder has no default."""
        return tuple(
            dict.fromkeys(part.field for part in self.parts if isinstance(part, Placeholder) and part.default is None)
        )

    @property
    def personalised(self) -> bool:
        """Whether the text differs from row to row."""
        return any(isinstance(part, Placeholder) for part in self.parts)

    def render(self, columns: Mapping[str, Sequence[str]], count: int) -> list[str]:
        """Return the text of each of `count` rows.

        `columns` has one sequence of `count` values for each of `fields`, by exactly that name and cleaned by
        `clean`; an empty value counts as missing and takes the default.

        Raises:
            TemplateError: a field has no column, or a value is missing and there is no default.
        """
        if not self.personalised:
            return ["".join(part for part in self.parts if isinstance(part, str))] * count
        pieces: list[Iterable[str]] = []
        for part in self.parts:
            if isinstance(part, str):
                pieces.append(repeat(part, count))
                continue
            values = columns.get(part.field)
            if values is None or len(values) != count:
                raise TemplateError(f"{{{part.field}}} needs a column of {count} values")
            if not all(values):
                default = part.default
                if default is None:
                    raise TemplateError(f"{{{part.field}}} has no value everywhere, and no default")
                values = [value or default for value in values]
            pieces.append(values)
        return list(map("".join, zip(*pieces, strict=True)))


_TOKEN = re.compile(r"\{\{|\}\}|\{|\}|[^{}]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


@lru_cache(maxsize=256)
def compile_template(text: str) -> Template:
    """Compile a text in which {field} and {field|default} stand for values, {{ and }} for braces.

    Raises:
        TemplateError: the text is empty, a brace is not closed or not opened, or a name is empty.
    """
    if not text.strip():
        raise TemplateError("empty: say what is to be sent")
    if bad := _SURROGATE.search(text):
        raise TemplateError(f"character {bad.start() + 1} is not valid text: write the text in UTF-8")
    parts: list[str | Placeholder] = []
    literal: list[str] = []
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        assert token is not None  # every character is in one of the alternatives
        match token[0]:
            case "{{" | "}}":
                literal.append(token[0][0])
                position = token.end()
            case "{":
                end = text.find("}", position)
                if literal:
                    parts.append("".join(literal))
                    literal = []
                parts.append(_placeholder(text, position, end))
                position = end + 1
            case "}":
                raise TemplateError(f"character {position + 1}: }} without a {{; write }}}} for a brace")
            case plain:
                literal.append(plain)
                position = token.end()
    if literal:
        parts.append("".join(literal))
    return Template(text=text, parts=tuple(parts))


def _placeholder(text: str, start: int, end: int) -> Placeholder:
    inside = text[start + 1 : end if end >= 0 else len(text)]
    if end < 0 or "{" in inside:
        raise TemplateError(
            f"character {start + 1}: {{ is not closed; close it as in {{first_name}}, or write {{{{ for a brace"
        )
    field, bar, default = inside.partition("|")
    if not field.strip():
        raise TemplateError(
            f"character {start + 1}: a placeholder without a name; name a column as in {{first_name}}"
        )
    return Placeholder(field=field.strip(), default=default if bar else None)


def rewrite(
    text: str,
    *,
    words: Callable[[str], str] = lambda words: words,
    default: Callable[[str | None], str | None] = lambda default: default,
) -> str:
    """Return a text with other `words` between its placeholders, and another `default` in each; neither adds a brace.

    Raises:
        TemplateError: as for `compile_template`.
    """
    pieces: list[str] = []
    for part in compile_template(text).parts:
        if isinstance(part, str):
            pieces.append(literal(words(part)))
            continue
        given = default(part.default)
        pieces.append(f"{{{part.field}}}" if given is None else f"{{{part.field}|{given}}}")
    return "".join(pieces)


def literal(words: str) -> str:
    """Return the text that says exactly these words."""
    return words.replace("{", "{{").replace("}", "}}")


# --- Names and values ---------------------------------------------------------------------------------------

_BREAKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def fold(name: str) -> str:
    """Return a name as it is compared: `First Name`, `first-name` and `first_name` are one."""
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def match_field(wanted: str, names: Sequence[str]) -> str | None:
    """Return the one of `names` that `wanted` means: the very same, else the same but for case and spaces.

    Raises:
        TemplateError: several are the same but for case and spaces.
    """
    if wanted in names:
        return wanted
    found = [name for name in names if fold(name) == fold(wanted)]
    if len(found) > 1:
        raise TemplateError(f"{wanted} may be any of {', '.join(found)}: write the one that is meant exactly")
    return found[0] if found else None


def clean(values: Sequence[str]) -> list[str]:
    """Return values as they go into a text: stripped, without control characters, a line break as a space."""
    stripped = list(map(str.strip, values))
    if "".join(stripped).isprintable():
        return stripped
    return [value if value.isprintable() else _CONTROL.sub("", _BREAKS.sub(" ", value)).strip() for value in stripped]


def pack_fields(columns: Mapping[str, Sequence[str]]) -> bytes:
    """Return the columns as one small blob for `unpack_fields`."""
    plain = msgspec.json.encode(columns)
    # A batch of one message is not worth the set-up of a compressor.
    return zlib.compress(plain, 1) if len(plain) > _WORTH_COMPRESSING else plain


def unpack_fields(packed: bytes) -> dict[str, list[str]]:
    """Return what was given to `pack_fields`."""
    plain = packed if packed[:1] == b"{" else zlib.decompress(packed)
    return msgspec.json.decode(plain, type=dict[str, list[str]])


_WORTH_COMPRESSING = 512
