"""A Sakari that gives recorded answers, one after the other, and lets anyone in."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from dispatcher.provider import Item, Resource, Tokens
from dispatcher.providers.sakari import Sakari, Settings, connect
from dispatcher.throughput import LocalTokens
from tests.misbehaving import Server, answer

ACCOUNT = "5e0f00000000000000000001"
CREDENTIALS: Mapping[str, Any] = {
    "client_id": "our-client",
    "client_secret": "the-secret-of-ours",
    "account_id": ACCOUNT,
}


ANN: Item = {
    "firstName": "Ann",
    "lastName": "Other",
    "email": "ann@example.com",
    "mobile": {"number": "202-555-0120", "country": "US"},
    "tags": [{"tag": "vip", "visible": True}],
    "attributes": {"code": 7, "city": "Zürich", "open": True, "rate": 1.5, "none": None, "list": [1]},
}


def jwt(**claims: object) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return ".".join([*parts, "signature"])


def raw(content: object, status: int = 200, *headers: str) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return answer(status, body, "Content-Type: application/json", *headers)


TOKEN = raw({"access_token": "a-token", "token_type": "Bearer"})


class Vendor:
    """Answers a login, then each request with the next of the recorded answers; it knows what it was asked."""

    def __init__(self, *contents: object, tokens: Tokens | None = None, **settings: Any) -> None:
        steps = [_step(content) for content in contents]
        self.server = Server(TOKEN, *steps)
        self.tokens = tokens or LocalTokens()
        self.settings = {**CREDENTIALS, "timeout": 5, **settings}

    def ask(self, question: Callable[[Sakari], Any]) -> Any:
        with self.server:
            provider = connect(Settings(base_url=self.server.url, **self.settings), self.tokens)
            try:
                return question(provider)
            finally:
                provider._calls.close()

    def asked(self) -> list[tuple[str, bytes]]:
        """Return the requests after the login: method and path below the account, and the body."""
        found = []
        for request in self.server.requests[1:]:
            head, _, body = request.partition(b"\r\n\r\n")
            assert b"Authorization: Bearer a-token\r\n" in head + b"\r\n"
            line = head.decode().partition(" HTTP/1.1")[0]
            found.append((line.replace(f"/v1/accounts/{ACCOUNT}", ""), body))
        return found

    def sent(self) -> Any:
        """Return the one request after the login as JSON."""
        ((_, body),) = self.asked()
        return json.loads(body)


def _step(content: object) -> bytes:
    return content if isinstance(content, bytes) and content.startswith(b"HTTP/1.1") else raw(content)


def resource(provider: Sakari, name: str) -> Resource:
    return next(found for found in provider.resources() if found.name == name)
