"""One listening port for everything: WebSockets at `/v1` by picows, all other HTTP by aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import uuid
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web

from orchestrator.hub.accepting import Accepting
from orchestrator.hub.admission import admit
from orchestrator.hub.attachment import Attachment
from orchestrator.hub.connect_gate import ConnectGate
from orchestrator.hub.control_plane import ControlPlane
from orchestrator.hub.core import Hub
from orchestrator.hub.door import Door, Waiting
from orchestrator.hub.driver import Driver
from orchestrator.hub.http import HttpConnection, make_app
from orchestrator.hub.keys import KeyProblem
from orchestrator.hub.loop_lag import LoopLag
from orchestrator.hub.memory import available_memory
from orchestrator.hub.request_head import HttpRefusal, Upgrade
from orchestrator.hub.socket_peer import SocketPeer
from orchestrator.hub.unfinished import Reader
from orchestrator.protocol.tokens import TokenRefused

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from orchestrator.hub.admission import Identity
    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.metrics import RunFigures
    from orchestrator.hub.record_file import Recorder
    from orchestrator.hub.recording import RecordingHub
    from orchestrator.hub.rest_requests import Route
    from orchestrator.hub.settings import Settings
    from orchestrator.hub.sign_in import Entrance
    from orchestrator.protocol.codes import CloseCode
    from orchestrator.protocol.tokens import SecretKey

_DRAINING: Final = HttpRefusal(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"}).response()
_TOO_MANY: Final = HttpRefusal(HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "60"}).response()
_READ_BUFFER: Final = 2048
"""Bytes to begin with; it grows for those who send much at once."""
_SHARE_OF_MEMORY: Final = 4
"""One part in so many of the memory may wait for readers that lag."""
_log: Final = logging.getLogger("orchestrator.hub")
_SILENT: Final = logging.Logger("orchestrator.hub.libraries", logging.CRITICAL + 1)
"""For libraries that log requests, whose URLs hold credentials, and frames, which are nobody's business."""


class _Mute:
    """The same for picows, which makes a logger of its own for each connection of what is one."""

    def isEnabledFor(self, _level: int) -> bool:  # noqa: N802  # as loggers call it
        return False

    def log(self, *_words: object) -> None:
        return

    debug = info = warning = error = exception = critical = log


_MUTE: Final = _Mute()


class Server:
    """A hub on a listening socket. `start` it, and `drain` it in the end."""

    def __init__(self, keys: KeyRing, settings: Settings, *, record: Recorder | None = None) -> None:
        """`record` is told everything that the hub does; it is closed with the server."""
        if settings.outbound_bytes is None:
            settings = replace(settings, outbound_bytes=(available_memory() or 0) // _SHARE_OF_MEMORY)
        self.keys = keys
        self.settings = settings
        self.hub = Hub(settings, on_fault=_report) if record is None else _recorded(settings, record)
        self._record = record
        self.url = ""
        """Where WebSocket clients connect, without a path; set by `start`."""
        self.http_url = ""
        self.unready = ""
        """Why those whom this hub serves are not ready as a whole: a sentence for anybody who asks; empty when they are,
        and when nobody is expected."""
        self.entrance: Entrance | None = None
        """Whoever decides which dashboards get a token; `None` = nobody: people bring their own."""
        self.run_figures: RunFigures | None = None
        """The run that this hub belongs to, if there is one."""
        self.lag: Final = LoopLag()
        self._control_plane = ControlPlane(self.hub)
        self._gate = ConnectGate(settings.connects_per_minute, settings.limit_loopback)
        self._waiting = Waiting(settings.max_waiting, settings.handshake_timeout)
        self._peers: set[SocketPeer] = set()
        self._all_gone = asyncio.Event()
        self._attachment: Attachment | None = None
        self._driver: Driver
        self._accepting: Accepting
        self._runner: web.AppRunner

    @property
    def draining(self) -> bool:
        return self.hub.draining

    @property
    def tells_metrics(self) -> bool:
        return self.settings.metrics

    def now(self) -> float:
        return self._driver.clock()

    def refused(self, cause: str) -> None:
        self.hub.turn.traffic.refusals[cause] += 1

    def answered(self, route: str, status: int) -> None:
        self.hub.turn.traffic.requests[route, f"{status // 100}xx"] += 1

    async def start(self, listening: socket.socket) -> None:
        """Serve on a socket that listens; it is closed with the server.

        Raises `KeyProblem` for unusable TLS files, and `BackplaneProblem` when there is to be a backplane and is none.
        """
        loop = asyncio.get_running_loop()
        self._driver = Driver(self.hub, loop)
        if self._record is not None:
            cast("RecordingHub", self.hub).begin(self._driver.clock(), self._driver.wall())
        try:
            tls = _tls(self.settings)
            if self.settings.backplane is not None:
                self._attachment = await Attachment.made(self._driver, self.settings)
        except BaseException:
            listening.close()
            raise
        self._runner = web.AppRunner(make_app(self), access_log=None, logger=_SILENT, shutdown_timeout=1.0)
        await self._runner.setup()
        self.url, self.http_url = _urls(listening, tls is not None)
        self._accepting = Accepting(listening, tls, self._waiting, self._answer_unread, self._door)

    async def drain(self) -> None:
        """Say goodbye to everybody, wait until they are gone or the grace is over, and stop."""
        loop = asyncio.get_running_loop()
        until_last = self.hub.drain(self._driver.clock())
        self._driver.settle()
        deadline = loop.time() + until_last + self.settings.drain_grace
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self._peers:
                    self._all_gone.clear()
                    await self._all_gone.wait()
        await self.cut()

    async def cut(self) -> None:
        """Stop at once, without a word to anybody."""
        await self._accepting.close()
        self._waiting.shut_all()
        for peer in list(self._peers):
            peer.cut()
        if self._attachment is not None:
            await self._attachment.close()
        self._driver.stop()
        self.lag.stop()
        await self._runner.cleanup()
        if self._record is not None:
            await asyncio.to_thread(self._record.close)

    def hurry(self, seconds: float) -> None:
        """Spend at most about twice this time on a drain that is yet to begin."""
        self.settings = self.hub.settings = replace(self.settings, drain_window=seconds, drain_grace=seconds)

    def rekey(self, keys: KeyRing) -> None:
        """Use other keys from now on; connections made with one that is gone are closed."""
        self.keys = keys
        self.hub.rekey(keys, self._driver.clock())
        self._driver.settle()

    def control(self, key: SecretKey, route: Route, body: bytes) -> bytes:
        """Do what the holder of a key asks for, and return the answer, as JSON. Raises `RestRefusal`."""
        try:
            return self._control_plane.answer(key, route, body, self._driver.clock(), self._driver.wall())
        finally:
            self._driver.settle()

    def accept(self, transport: asyncio.Transport, upgrade: Upgrade) -> None:
        """Make a WebSocket of a connection. Raises `HttpRefusal`.

        A credential that is refused gets its WebSocket too: clients learn why from the close code alone.
        """
        if self.draining:
            self.refused("draining")
            raise HttpRefusal(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
        address = transport.get_extra_info("peername")
        if address and not self._gate.admits(address[0], self._driver.clock()):
            self.refused("rate")
            raise HttpRefusal(HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "60"})
        peer = SocketPeer(self._driver, transport, self._admit(upgrade), self._forget)
        self._peers.add(peer)
        _to_picows(transport, peer, upgrade, self._driver)

    def _admit(self, upgrade: Upgrade) -> Identity | CloseCode:
        try:
            return admit(upgrade.query, upgrade.origin, self.keys, self._driver.wall(), lambda: str(uuid.uuid4()))
        except TokenRefused as refused:
            self.refused(refused.cause)
            return refused.code

    def _door(self, source: str) -> Door:
        return Door(source, self._waiting, self._answer_unread, self.accept, self._http)

    def _answer_unread(self, source: str) -> bytes | None:
        """Return what `accept` would refuse any request for a WebSocket with, as long as nothing was done for it."""
        if self.draining:
            self.refused("draining")
            return _DRAINING
        if not self._gate.is_full(source, self._driver.clock()):
            return None
        self.refused("rate")
        return _TOO_MANY

    def _http(self, on_lost: Callable[[], None]) -> asyncio.Protocol:
        manager = self._runner.server
        assert manager is not None, "the runner was set up"
        return HttpConnection(manager, _SILENT, on_lost)

    def _forget(self, peer: SocketPeer) -> None:
        self._peers.discard(peer)
        if not self._peers:
            self._all_gone.set()


def _to_picows(transport: asyncio.Transport, peer: SocketPeer, upgrade: Upgrade, driver: Driver) -> None:
    """Give the socket to picows, which sees a request that holds neither credential nor browser's peculiarities."""
    settings = driver.hub.settings
    protocol = Reader(
        host_port=None,
        ws_path=None,
        is_client_side=False,
        ws_listener_factory=lambda _request: peer,
        logger=_MUTE,
        disconnect_on_exception=True,
        websocket_handshake_timeout=settings.handshake_timeout,
        enable_auto_ping=False,
        auto_ping_idle_timeout=0,
        auto_ping_reply_timeout=0,
        auto_ping_strategy=cast(Any, 1),
        enable_auto_pong=False,
        max_frame_size=settings.max_frame,
        extra_headers=None,
        read_buffer_init_size=_READ_BUFFER,
    )
    transport.set_protocol(protocol)
    protocol.start(peer, driver.loop, upgrade.plain_request(), settings.frame_timeout)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        files = " and ".join(filter(None, (settings.tls_certificate, settings.tls_key)))
        raise KeyProblem(f"the TLS certificate cannot be used ({files}): {error.strerror or error}") from None
    return context


def _urls(listening: socket.socket, secure: bool) -> tuple[str, str]:
    """Return the WebSocket and the HTTP address; without TLS, clients accept the names of this machine alone."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        host = "localhost"
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return (f"wss://{where}", f"https://{where}") if secure else (f"ws://{where}", f"http://{where}")


def _recorded(settings: Settings, record: Recorder) -> Hub:
    from orchestrator.hub.recording import RecordingHub  # few hubs are recorded

    return RecordingHub(settings, record.tell, on_fault=_report)


def _report(fault: Exception) -> None:
    _log.error("a request failed in the hub", exc_info=fault)
