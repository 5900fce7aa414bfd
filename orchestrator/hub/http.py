"""What the port answers over HTTP: whether it is well, and whether it takes work."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

from orchestrator.hub.request_head import HttpRefusal, Upgrade, check_upgrade
from orchestrator.protocol.limits import MAX_REST_BODY

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

_log: Final = logging.getLogger("orchestrator.hub")


class Host(Protocol):
    """What the HTTP side needs of the server."""

    @property
    def draining(self) -> bool: ...

    def accept(self, transport: asyncio.Transport, upgrade: Upgrade) -> None: ...


def make_app(host: Host) -> web.Application:
    app = web.Application(client_max_size=MAX_REST_BODY, middlewares=[_as_json])

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        if host.draining:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="draining\n")
        return web.Response(text="ready\n")

    async def v1(request: web.Request) -> web.StreamResponse:
        return _take_over(host, request)

    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/v1", v1)])
    return app


def error_body(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": code, "message": message}, status=status)


@web.middleware
async def _as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every fault with an `error` and a `message`, and log none with its URL."""
    try:
        return await handler(request)
    except HttpRefusal as refusal:
        response = error_body(refusal.status, "invalid_request", refusal.status.phrase)
        response.headers.update(refusal.headers)
        return response
    except web.HTTPRequestEntityTooLarge:
        return error_body(413, "invalid_request", f"the body has more than {MAX_REST_BODY} bytes")
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return error_body(404, "not_found", "there is no such route")
    except web.HTTPException as error:
        return error_body(error.status, "invalid_request", error.reason)
    except Exception:  # noqa: BLE001  # a fault of ours is logged and answered, not shown
        _log.exception("an HTTP request failed in the hub")
        return error_body(503, "internal_error", "this request failed in the hub")


class _HandedOver(web.Response):
    """The connection is no longer aiohttp's: nothing more is written to it."""

    async def prepare(self, request: web.BaseRequest) -> None:  # noqa: ARG002
        return None

    async def write_eof(self, data: Any = b"") -> None:  # noqa: ARG002
        return None


def _take_over(host: Host, request: web.Request) -> web.StreamResponse:
    """Make a WebSocket of a connection that has carried other requests before, as those of a proxy do.

    What it takes to get a socket back from aiohttp is no documented interface; a test does it.
    """
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
    upgrade = check_upgrade(request.raw_path, fields)
    protocol, transport = request.protocol, request.transport
    if transport is None or protocol._message_tail:  # gone, or sending frames before the handshake
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    host.accept(transport, upgrade)
    protocol.transport = None  # so that aiohttp lets go without closing it
    protocol.connection_lost(None)
    if not transport.is_reading() and not transport.is_closing():
        transport.resume_reading()
    return _HandedOver()
