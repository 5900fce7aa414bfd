"""``POST /session``: how the page that a hub serves comes by a token. Whether it gets one is for the hub's run to say.

There are no cookies, so no request carries a credential that its page did not put there; and whoever signs in without
any has to be the run's own user, on the same machine.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

import msgspec
from aiohttp import web

from orchestrator.hub.callers import ends, is_near, refuse_other_sites
from orchestrator.hub.connect_gate import ConnectGate, source_of
from orchestrator.hub.local_user import same_user
from orchestrator.hub.rest import read_body, refused, unstored
from orchestrator.hub.rest_requests import RestRefusal, invalid
from orchestrator.protocol.limits import MAX_TOKEN

MAX_BODY: Final = 4_096
"""Bytes."""
MAX_CODE: Final = 128
MAX_AT_ONCE: Final = 16
"""Requests that are being answered; one more is refused."""
MAX_FAILED_CODES: Final = 10
"""From one address in a minute."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody signs in with: one of these."""

    code: str = field(default="", repr=False)
    """Of a link that is good once."""
    token: str = field(default="", repr=False)
    """One that is to be renewed."""
    local: bool = False
    """Nothing, but being the hub's own user on this machine."""


@dataclass(frozen=True, slots=True)
class Granted:
    token: str = field(repr=False)
    expires_at: int
    """Unix seconds."""
    peer_id: str


@dataclass(frozen=True, slots=True)
class Denied:
    sentence: str
    """For the person who signs in."""


class Unanswered(Exception):
    """Whoever decides is not there just now, or too busy."""


class Entrance(Protocol):
    """Whoever decides who gets a token."""

    async def sign_in(self, wish: Wish) -> Granted | Denied:
        """Raises `Unanswered`."""
        ...


class Reception(Protocol):
    """What signing in needs of the server."""

    @property
    def entrance(self) -> Entrance | None:
        """`None` = this hub signs nobody in."""
        ...

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def refused(self, cause: str) -> None:
        """Count somebody who was not let in."""
        ...


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    code: str = ""


_decode: Final = msgspec.json.Decoder(_Body).decode


def sign_in_routes(reception: Reception) -> list[web.RouteDef]:
    return [web.post("/session", _Desk(reception).answer)]


class _Desk:
    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._failed_codes = ConnectGate(MAX_FAILED_CODES, loopback_too=True)
        self._busy = 0

    async def answer(self, request: web.Request) -> web.Response:
        try:
            granted = await self._granted(request)
        except RestRefusal as refusal:
            return refused(request, refusal)
        fields = {"token": granted.token, "expiresAt": granted.expires_at, "peerId": granted.peer_id}
        return unstored(web.json_response(fields))

    async def _granted(self, request: web.Request) -> Granted:
        try:
            refuse_other_sites(request)
        except RestRefusal:
            self._reception.refused("page")
            raise
        wish = await _read(request)
        if self._busy >= MAX_AT_ONCE:
            self._reception.refused("rate")
            raise _too_many("too many are signing in just now; try again in a moment", after=1)
        self._busy += 1
        try:
            return await self._decided(request, wish)
        finally:
            self._busy -= 1

    async def _decided(self, request: web.Request, wish: Wish) -> Granted:
        entrance, address = self._reception.entrance, _address(request)
        if entrance is None:
            raise _not_permitted(
                "this hub signs nobody in: paste a token that `orchestrator token` has made for one of its users"
            )
        if wish.code and self._failed_codes.is_full(source_of(address), self._reception.now()):
            self._reception.refused("rate")
            raise _too_many("too many codes from this address were wrong; wait a minute", after=60)
        if not (wish.code or wish.token):
            wish = Wish(local=await self._is_own_user(request))
        try:
            answer = await entrance.sign_in(wish)
        except Unanswered:
            message = "the run that this hub belongs to does not answer just now; try again in a moment"
            raise RestRefusal(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message, {"Retry-After": "1"}) from None
        if isinstance(answer, Granted):
            return answer
        self._reception.refused("code" if wish.code else "session")
        if wish.code:
            self._failed_codes.admits(address, self._reception.now())
        if wish.local:
            raise _not_permitted(answer.sentence)
        raise RestRefusal(HTTPStatus.UNAUTHORIZED, "unauthorized", answer.sentence)

    async def _is_own_user(self, request: web.Request) -> bool:
        """Return `True`. Raises `RestRefusal` with what else there is to sign in with."""
        found = ends(request)
        if found is not None and is_near(request) and await asyncio.to_thread(same_user, *found):
            return True
        self._reception.refused("session")
        raise _not_permitted(
            "only the user who has started the run, on the same machine and by the name localhost, is signed in without "
            "more: open the link that the run has printed, or paste a token that `orchestrator token` has made"
        )


async def _read(request: web.Request) -> Wish:
    """Raises `RestRefusal`."""
    kinds = request.headers.getall("Content-Type", [])
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        message = "the body is to be JSON, with `Content-Type: application/json`"
        raise RestRefusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "invalid_request", message)
    body = await read_body(request, MAX_BODY)
    try:
        code = _decode(body).code
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid('the body is to be {}, or {"code": "…"} with the code of a link') from None
    if len(code) > MAX_CODE:
        raise invalid(f"a code has at most {MAX_CODE} characters")
    given = request.headers.getall("Authorization", [])
    if not given:
        return Wish(code=code)
    scheme, _, token = given[0].partition(" ")
    if len(given) != 1 or scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN:
        raise RestRefusal(
            HTTPStatus.UNAUTHORIZED, "unauthorized", "a token is renewed with Authorization: Bearer TOKEN"
        )
    if code:
        raise invalid("either a code signs in, or a token is renewed, and not both")
    return Wish(token=token)


def _address(request: web.Request) -> str:
    found = ends(request)
    return "" if found is None else found[1][0]


def _not_permitted(message: str) -> RestRefusal:
    return RestRefusal(HTTPStatus.FORBIDDEN, "action_not_permitted", message)


def _too_many(message: str, after: int) -> RestRefusal:
    return RestRefusal(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", message, {"Retry-After": str(after)})
