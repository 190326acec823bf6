"""A BSG that gives recorded answers, one a request, and a client of it that has a token already."""

import base64
import json
from collections.abc import Callable
from typing import Any

from dispatcher.providers.bsg import BSG, Settings
from dispatcher.throughput import LocalTokens
from tests.misbehaving import Server, answer

KEPT = "kept-token-81c2"


def token(**claims: Any) -> str:
    """Return a token with some claims, signed by nobody."""
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"typ": "JWT"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "c2ln"])


class BsgVendor:
    """Answers each request with the next recorded (status, content), the last one again and again."""

    def __init__(self, *content: object, status: int = 200, kept: str | None = KEPT, **settings: Any) -> None:
        steps = [one if isinstance(one, tuple) else (status, one) for one in content]
        self.server = Server(
            *(
                answer(code, one if isinstance(one, bytes) else json.dumps(one).encode(), "Content-Type: any")
                for code, one in steps
            )
        )
        self.tokens = LocalTokens()
        fields = {"base_url": self.server.url, "api_key": "the-key-of-ours", "sender": "Shop", "timeout": 5}
        self.provider = BSG(Settings(**{**fields, **settings}), self.tokens)
        self.name = self.provider._session.name
        if kept is not None:
            self.tokens.keep(self.name, kept, seconds=60)

    def ask(self, question: Callable[[BSG], Any]) -> Any:
        with self.server:
            try:
                return question(self.provider)
            finally:
                self.provider._session.transport.close()

    def asked(self, position: int = 0, *, bearer: str | None = KEPT) -> tuple[str, bytes]:
        """Return the method and path, and the body, of one request; it had the token."""
        head, _, body = self.server.requests[position].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert [line for line in lines if line.startswith("Authorization")] == (
            [] if bearer is None else [f"Authorization: Bearer {bearer}"]
        )
        return lines[0].partition(" HTTP/1.1")[0], body


def campaign(**fields: Any) -> dict[str, Any]:
    """Return a campaign as the vendor documents it."""
    found = {
        "id": 53651994,
        "name": "SMS api campaign / 2024-04-03 12:14:49",
        "sender": "testsms",
        "status": "creation",
        "message_type": "sms",
        "start_at": "2024-04-03 12:14:49",
        "real_start_at": None,
        "finished_at": None,
        "created_at": "2024-04-03 12:14:49",
        "statistics": {"delivered": 0, "sent": 0},
        "calculated_price": 0.0527088,
        "currency": "USD",
        "alternative_channels": None,
    }
    return {"data": {**found, **fields}}
