"""Turns a Sakari template into a text with our {field} placeholders."""

import re

from dispatcher.errors import InputError

CORE = {"firstName": "first_name", "lastName": "last_name", "email": "email", "mobile": "phone"}
"""Sakari's own fields, by the columns that its contacts have with us."""

_TAG = re.compile(r"\{\{\{(?P<raw>.*?)\}\}\}|\{\{(?P<plain>.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"&?\s*(?:contact\.)?(?P<attribute>attributes\.)?(?P<name>[^\s{}|.#^/!>=&]+)(?:\.number)?")


def placeholders(template: str) -> str:
    """Return a template with `{{{firstName}}}` as `{first_name}`, and so on; its own braces are doubled.

    Its fields are those of a contact (K: {{{firstName}}}, {{ firstName }}, {{{contact.firstName}}}), an attribute by
    its own name, with or without `attributes.` before it (I). Two braces, which Sakari would escape for HTML, become
    the same as three: a text message is no HTML.

    Raises:
        InputError: it has a section, a helper, a partial or another delimiter, none of which can be expressed, or
            a tag that is not closed.
    """
    parts, end = [], 0
    for tag in _TAG.finditer(template):
        parts += [_literal(template, end, tag.start()), _field(tag, template)]
        end = tag.end()
    parts.append(_literal(template, end, len(template)))
    return "".join(parts)


def _field(tag: re.Match[str], template: str) -> str:
    inside = (tag["raw"] if tag["raw"] is not None else tag["plain"]).strip()
    if tag["raw"] is None and inside.startswith("!"):  # a comment
        return ""
    found = _NAME.fullmatch(inside)
    if found is None or (found["name"] == "attributes" and not found["attribute"]):
        raise InputError(
            f"character {tag.start() + 1} of the Sakari template: {template[tag.start() : tag.end()][:60]} cannot be "
            "expressed here; write the text with {field} placeholders"
        )
    name = found["name"]
    return f"{{{name if found['attribute'] else CORE.get(name, name)}}}"


def _literal(template: str, start: int, end: int) -> str:
    part = template[start:end]
    opened = part.find("{{")
    if opened >= 0:
        raise InputError(f"character {start + opened + 1} of the Sakari template: {{{{ is not closed")
    return part.replace("{", "{{").replace("}", "}}")
