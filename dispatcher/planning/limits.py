"""Which texts a provider cannot carry, found before anything is planned for it."""

from collections.abc import Sequence

import msgspec

from dispatcher.errors import InputError
from dispatcher.provider import Capabilities
from dispatcher.segments import count_segments, utf16_units, what_needs_ucs2


def find_refusals(
    texts: Sequence[str], segments: Sequence[int], *, provider: str, capabilities: Capabilities
) -> dict[int, str]:
    """Return why the provider cannot carry a text, by its position; whatever is not in it can be carried."""
    if not _any_in_doubt(texts, segments, capabilities):
        return {}
    refusals: dict[int, str] = {}
    for position, (text, count) in enumerate(zip(texts, segments, strict=True)):
        reason = _refusal(text, count, provider, capabilities)
        if reason is not None:
            refusals[position] = reason
    return refusals


def _any_in_doubt(texts: Sequence[str], segments: Sequence[int], can: Capabilities) -> bool:
    """Return whether the texts need to be looked at one by one; false for nearly every chunk of them."""
    longest = max(map(len, texts), default=0)
    return (
        not can.unicode
        or not all(map(str.strip, texts))
        or (can.segments is not None and max(segments, default=0) > can.segments)
        # A character is at most two UTF-16 code units, and six bytes of JSON.
        or (can.characters is not None and 2 * longest > can.characters)
        or (can.bytes_per_request is not None and can.bytes_per_message + 6 * longest + 2 > can.bytes_per_request)
    )


def _refusal(text: str, segments: int, provider: str, can: Capabilities) -> str | None:
    if not text.strip():
        return "empty text"
    if can.segments is not None and segments > can.segments:
        return f"text of {segments} segments: {provider} carries {can.segments}"
    if can.characters is not None and (units := utf16_units(text)) > can.characters:
        return f"text of {units} characters: {provider} carries {can.characters}"
    if not can.unicode and (needs := what_needs_ucs2(text)):
        return f"text with {needs[:8]}: {provider} carries GSM-7 only"
    most = can.bytes_per_request
    if most is not None and (size := can.bytes_per_message + encoded_size(text)) > most:
        return f"text of {size} bytes: {provider} carries {most}"
    return None


def check_text_for_all(text: str, *, provider: str, capabilities: Capabilities) -> int:
    """Return the segments of the one text of a campaign.

    Raises:
        InputError: the provider cannot carry it.
    """
    segments = count_segments([text])
    refusals = find_refusals([text], segments, provider=provider, capabilities=capabilities)
    if refusals:
        raise InputError(f"the {refusals[0]}: shorten the text or choose another provider")
    return segments[0]


def encoded_size(text: str) -> int:
    """Return the bytes of a text as a JSON string in UTF-8, its quotes included."""
    return len(msgspec.json.encode(text))


def encoded_sizes(texts: Sequence[str]) -> list[int]:
    """Return the `encoded_size` of every text."""
    lengths = list(map(len, texts))
    # Where nothing is escaped, and every character is a byte, there is nothing but quotes and commas besides.
    if len(msgspec.json.encode(texts)) == sum(lengths) + 3 * len(lengths) + (1 if lengths else 2):
        return [length + 2 for length in lengths]
    return list(map(encoded_size, texts))
