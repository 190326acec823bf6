"""Files for MMS, which Sakari hosts for a time."""

import uuid

from msgspec import Struct

from dispatcher.errors import InvalidRequest
from dispatcher.transport import Reply


class _Shared(Struct):
    link: str | None = None


class _Answer(Struct):
    data: _Shared | None = None


def form(name: str, media_type: str, data: bytes) -> tuple[str, bytes]:
    """Return the content type and the body that carry a file (K: multipart, the field is `media`).

    Raises:
        InvalidRequest: the media type is none.
    """
    kind, _, subtype = media_type.partition("/")
    if not kind or not subtype or not media_type.isascii() or not media_type.isprintable():
        raise InvalidRequest("sakari: not sent: the media type is none, such as image/png")
    plain = "".join(sign for sign in name if sign.isascii() and (sign.isalnum() or sign in "._-")) or "file"
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="media"; filename="{plain}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


def link(reply: Reply) -> str:
    """Return the link in an answer.

    Raises:
        Unreachable: there is none; upload it again.
    """
    shared = reply.json(_Answer).data
    if shared is None or not shared.link:
        raise reply.unclear("it names no link")
    return shared.link
