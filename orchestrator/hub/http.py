"""What the port answers over HTTP: whether it is well and takes work, the dashboard, and what the control plane says."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import HttpVersion11, web

from orchestrator.hub.callers import WEBSOCKETS, refuse_pages, route_of
from orchestrator.hub.metrics import Measured, metrics_routes
from orchestrator.hub.page_files import page_routes
from orchestrator.hub.request_head import HttpRefusal, Upgrade, check_upgrade
from orchestrator.hub.rest import Control, error_answer, refused, rest_routes
from orchestrator.hub.rest_requests import RestRefusal
from orchestrator.hub.sign_in import Reception, sign_in_routes
from orchestrator.protocol.limits import MAX_REQUEST_HEAD, MAX_REST_BODY, MAX_URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_KEPT: Final = 75.0
"""Seconds that a connection may wait for its next request, unless its descriptor is needed before."""
_NAME: Final = "orchestrator"
"""What the port calls itself: not which versions of what it is made of."""
_log: Final = logging.getLogger("orchestrator.hub")


class Host(Control, Reception, Measured, Protocol):
    """What the HTTP side needs of the server."""

    @property
    def draining(self) -> bool: ...

    @property
    def unready(self) -> str: ...

    @property
    def tells_metrics(self) -> bool: ...

    def accept(self, transport: asyncio.Transport, upgrade: Upgrade) -> None: ...

    def answered(self, route: str, status: int) -> None:
        """Count an answer."""
        ...


def make_app(host: Host) -> web.Application:
    app = web.Application(client_max_size=MAX_REST_BODY, middlewares=[_guard(host), _as_json])

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        if host.draining:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="draining\n")
        if host.unready:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"{host.unready}\n")
        return web.Response(text="ready\n")

    async def v1(request: web.Request) -> web.StreamResponse:
        return _take_over(host, request)

    app.on_response_prepare.append(_say_little)
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/v1", v1, allow_head=False),
            *page_routes(),
            *rest_routes(host),
            *sign_in_routes(host),
            *(metrics_routes(host) if host.tells_metrics else ()),
        ]
    )
    return app


class HttpConnection(web.RequestHandler):
    """One connection of aiohttp's, whose complaints about what it cannot parse do not repeat it to anybody."""

    __slots__ = ("_on_lost",)

    def __init__(self, manager: web.Server, logger: logging.Logger, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            access_log=logger,
            logger=logger,
            keepalive_timeout=_KEPT,
            max_line_size=MAX_URL + 64,
            max_field_size=MAX_REQUEST_HEAD,
            auto_decompress=False,
        )

    def connection_lost(self, exc: BaseException | None) -> None:
        self._on_lost()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        _log.info("an HTTP request was refused with %d: %s", status, type(exc).__name__)
        known = HTTPStatus(status)
        response = error_answer(known, "internal_error" if known >= 500 else "invalid_request", known.phrase)
        response.headers["Server"] = _NAME
        response.force_close()
        return response


async def _say_little(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = _NAME


def _guard(host: Host) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return what answers no page of another origin, whatever it asks for, and counts all answers."""

    @web.middleware
    async def guarded(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path == WEBSOCKETS:
            return await handler(request)
        response: web.StreamResponse
        try:
            refuse_pages(request)
            response = await handler(request)
        except RestRefusal as refusal:
            host.refused("page")
            response = refused(request, refusal)
        host.answered(route_of(request), response.status)
        return response

    return guarded


@web.middleware
async def _as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every fault with an `error` and a `message`, and log none with its URL."""
    response: web.StreamResponse
    try:
        if request.method in ("GET", "HEAD") and request.body_exists:
            response = error_answer(400, "invalid_request", "a request to look at something has no body")
            response.force_close()  # somebody before us may have read the body as another request
            return response
        return await handler(request)
    except HttpRefusal as refusal:
        response = error_answer(refusal.status, "invalid_request", refusal.status.phrase)
        response.headers.update(refusal.headers)
        return response
    except web.HTTPRequestEntityTooLarge:
        return error_answer(413, "invalid_request", f"the body has more than {MAX_REST_BODY} bytes")
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return error_answer(404, "not_found", "there is no such route")
    except web.HTTPException as error:
        return error_answer(error.status, "invalid_request", error.reason)
    except Exception:  # noqa: BLE001  # a fault of ours is logged and answered, not shown
        _log.exception("an HTTP request failed in the hub")
        return error_answer(503, "internal_error", "this request failed in the hub")


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
    if request.version != HttpVersion11 or transport is None or protocol._message_tail:
        # of an older HTTP, gone, or sending frames before the handshake
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    host.accept(transport, upgrade)
    protocol.transport = None  # so that aiohttp lets go without closing it
    protocol.connection_lost(None)
    if not transport.is_reading() and not transport.is_closing():
        transport.resume_reading()
    return _HandedOver()
