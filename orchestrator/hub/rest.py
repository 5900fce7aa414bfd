"""The control plane over HTTP: from a request to its answer, with nothing decided on the way but who may ask at all."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from orchestrator.hub.rest_requests import Action, RestRefusal, authenticate, find_route, invalid
from orchestrator.protocol.limits import MAX_REST_BODY

if TYPE_CHECKING:
    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.rest_requests import Route
    from orchestrator.protocol.tokens import SecretKey

_BODY_TIME: Final = 10.0
"""Seconds for the whole of a body."""
_TAKES_BODY: Final = frozenset({Action.MINT, Action.PUBLISH})


class Control(Protocol):
    """What the control plane needs of the server."""

    @property
    def keys(self) -> KeyRing: ...

    def control(self, key: SecretKey, route: Route, body: bytes) -> bytes: ...

    def refused(self, cause: str) -> None:
        """Count somebody who was not let in."""
        ...


def rest_routes(host: Control) -> list[web.RouteDef]:
    async def answer(request: web.Request) -> web.Response:
        return unstored(await _answer(host, request))

    return [web.route("*", r"/v1/{rest:[\s\S]*}", answer)]


def error_answer(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": code, "message": message}, status=status)


def unstored(response: web.Response) -> web.Response:
    """Have an answer kept by nobody, and read as nothing else than it says."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def refused(request: web.Request, refusal: RestRefusal) -> web.Response:
    response = error_answer(refusal.status, refusal.code, refusal.message)
    response.headers.update(refusal.headers)
    if refusal.status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if not request.content.is_eof():  # what is left of the body is nothing that we wait for
        response.force_close()
    return unstored(response)


async def _answer(host: Control, request: web.Request) -> web.Response:
    try:
        route = find_route(request.method, request.raw_path)
        if route is None:
            raise RestRefusal(HTTPStatus.NOT_FOUND, "not_found", "there is no such route")
        given = request.headers.getall("Authorization", [])
        authenticate(given, host.keys)
        body = await read_body(request) if route.action in _TAKES_BODY else b""
        key = authenticate(given, host.keys)  # again: it may have been revoked while the body was coming
        return web.Response(body=host.control(key, route, body), content_type="application/json")
    except RestRefusal as refusal:
        if refusal.status is HTTPStatus.UNAUTHORIZED:
            host.refused("secret key")
        return refused(request, refusal)


def _size_problem(most: int) -> RestRefusal:
    message = f"the body has more than {most} bytes"
    return RestRefusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "invalid_request", message)


async def read_body(request: web.Request, most: int = MAX_REST_BODY) -> bytes:
    """Read a body, and never more of it than `most` bytes. Raises `RestRefusal`."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise invalid("a body is taken as it is, without a content encoding")
    if (request.content_length or 0) > most:
        raise _size_problem(most)
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIME):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most:
                    raise _size_problem(most)
    except TimeoutError:
        message = f"the body did not come within {_BODY_TIME:g} seconds"
        raise RestRefusal(HTTPStatus.REQUEST_TIMEOUT, "invalid_request", message) from None
    except ConnectionError:  # whoever sent it is gone: nobody reads the answer
        raise invalid("the body ended before its time") from None
    return bytes(body)
