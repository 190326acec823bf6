"""The endpoints under /sandbox: ask what was accepted, say what shall go wrong.

GET    accepted    ?provider= &number= &text_contains= &offset= &limit= → {total, messages}
GET    duplicates  ?provider= → {total, duplicates}: numbers that accepted a text more than once, recalls aside
GET    requests    ?provider= &path_contains= &offset= &limit= → {total, requests}; status 0: never answered
GET    summary     → {provider: {requests, send_requests, accepted, refused, delivered, recalled, scheduled,
                   duplicates, peak_requests, peak_segments, credits}}; peaks: most in any second of sends
GET    faults      → {faults}; POST: an object adds a fault, a list replaces them all; DELETE removes all
GET    settings    → the settings; POST: those to change
POST   optouts     {numbers}
POST   incoming    {number, text, provider?}; STOP is an opt-out too
POST   credits     {credits, provider?}
POST   reset       forget everything, with the faults; the settings as they were at the start
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dispatcher.sandbox.app import Reply, Settings, Surroundings, json_reply
from dispatcher.sandbox.faults import Fault, Faults
from dispatcher.sandbox.record import Accepted, Record

PREFIX = "/sandbox/"
_DEFAULT_PROVIDER = "winsms"
_MOST_ROWS = 1_000_000


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _OptOuts(_Body):
    numbers: list[str]


class _Incoming(_Body):
    number: str
    text: str
    provider: str = _DEFAULT_PROVIDER


class _Credits(_Body):
    credits: float = Field(allow_inf_nan=False)
    provider: str = _DEFAULT_PROVIDER


class _Query(_Body):
    provider: str | None = None
    number: str = ""
    text_contains: str = ""
    path_contains: str = ""
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=1000, ge=0, le=_MOST_ROWS)


_FAULTS: TypeAdapter[Fault | list[Fault]] = TypeAdapter(Fault | list[Fault])
_CHANGES: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass(slots=True, kw_only=True)
class Control:
    """The control endpoints of one sandbox."""

    around: Surroundings
    faults: Faults
    starting_settings: Settings

    @property
    def record(self) -> Record:
        """The record that is asked."""
        return self.around.record

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Carry out a request to the sandbox itself; errors are `{error}`."""
        methods = _ROUTES.get(path)
        if methods is None:
            return json_reply(404, {"error": f"there is no {path}"})
        if method not in methods:
            return json_reply(405, {"error": f"{path} takes {', '.join(methods)}"})
        try:
            return json_reply(200, methods[method](self, _Query.model_validate(query), body))
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            return json_reply(400, {"error": details})

    def configure(self, changes: Mapping[str, Any]) -> Settings:
        """Change some settings for what is accepted from now on, and return them all."""
        settings = Settings.model_validate({**self.around.settings.model_dump(), **changes})
        self.around.settings = settings
        return settings

    def accepted(self, query: _Query, _: bytes) -> object:
        """Return the accepted messages that match, in the order of their acceptance."""
        with self.record.lock:
            found: Sequence[Accepted] = list(self.record.messages)
        number = query.number.removeprefix("+")
        found = [
            message
            for message in found
            if query.provider in (None, message.provider)
            and number in ("", message.number)
            and query.text_contains in message.text
        ]
        rows = found[query.offset : query.offset + query.limit]
        return {"total": len(found), "messages": [self._message(message) for message in rows]}

    def _message(self, message: Accepted) -> dict[str, Any]:
        fields = message._asdict()
        recalled = self.record.recalled.get((message.provider, message.message_id))
        return {"id": fields.pop("message_id"), **fields, "recalled_at": recalled}

    def duplicates(self, query: _Query, _: bytes) -> object:
        """Return the numbers that accepted the same text more than once."""
        found = self.record.duplicates(query.provider)
        rows = [
            {
                "number": group[0].number,
                "text": group[0].text,
                "ids": [message.message_id for message in group],
                "requests": [message.request for message in group],
                "providers": [message.provider for message in group],
                "accepted_at": [message.accepted_at for message in group],
            }
            for group in found[query.offset : query.offset + query.limit]
        ]
        return {"total": len(found), "duplicates": rows}

    def requests(self, query: _Query, _: bytes) -> object:
        """Return the requests that match, in the order of their arrival."""
        with self.record.lock:
            found = [
                entry
                for entry in self.record.requests
                if query.provider in (None, entry.provider) and query.path_contains in entry.path
            ]
        rows = [asdict(entry) for entry in found[query.offset : query.offset + query.limit]]
        return {"total": len(found), "requests": rows}

    def summary(self, _: _Query, __: bytes) -> object:
        """Return the counts of each provider."""
        return self.record.summary(self.around.clock())

    def list_faults(self, _: _Query, __: bytes) -> object:
        """Return the faults in force."""
        return {"faults": self.faults.listing()}

    def put_faults(self, query: _Query, body: bytes) -> object:
        """Add a fault, or replace them all by a list."""
        put = _FAULTS.validate_json(body)
        self.faults.put(put if isinstance(put, list) else [put], replace=isinstance(put, list))
        return self.list_faults(query, body)

    def remove_faults(self, query: _Query, body: bytes) -> object:
        """Remove every fault."""
        self.faults.put([], replace=True)
        return self.list_faults(query, body)

    def list_settings(self, _: _Query, __: bytes) -> object:
        """Return the settings of the moment."""
        return self.around.settings.model_dump()

    def change_settings(self, _: _Query, body: bytes) -> object:
        """Change some settings."""
        return self.configure(_CHANGES.validate_json(body)).model_dump()

    def add_optouts(self, _: _Query, body: bytes) -> object:
        """Opt numbers out by hand."""
        numbers = [number.removeprefix("+") for number in _OptOuts.model_validate_json(body).numbers]
        for number in numbers:
            self.record.opt_out(number, self.around.clock())
        return {"optouts": len(self.record.optouts)}

    def add_incoming(self, _: _Query, body: bytes) -> object:
        """Let a handset reply."""
        reply = _Incoming.model_validate_json(body)
        number = reply.number.removeprefix("+")
        return asdict(self.record.receive(number, reply.text, self.around.clock(), reply.provider))

    def set_credits(self, _: _Query, body: bytes) -> object:
        """Set what is left on an account."""
        account = _Credits.model_validate_json(body)
        self.record.set_credits(account.provider, account.credits)
        return {"provider": account.provider, "credits": account.credits}

    def reset(self, _: _Query, __: bytes) -> object:
        """Forget everything."""
        self.record.reset()
        self.faults.put([], replace=True)
        self.around.settings = self.starting_settings
        return {"reset": True}


_Endpoint = Callable[[Control, _Query, bytes], object]
_ROUTES: Mapping[str, Mapping[str, _Endpoint]] = {
    "/sandbox/accepted": {"GET": Control.accepted},
    "/sandbox/duplicates": {"GET": Control.duplicates},
    "/sandbox/requests": {"GET": Control.requests},
    "/sandbox/summary": {"GET": Control.summary},
    "/sandbox/faults": {
        "GET": Control.list_faults,
        "POST": Control.put_faults,
        "DELETE": Control.remove_faults,
    },
    "/sandbox/settings": {"GET": Control.list_settings, "POST": Control.change_settings},
    "/sandbox/optouts": {"POST": Control.add_optouts},
    "/sandbox/incoming": {"POST": Control.add_incoming},
    "/sandbox/credits": {"POST": Control.set_credits},
    "/sandbox/reset": {"POST": Control.reset},
}
