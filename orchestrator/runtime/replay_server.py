"""A hub of its own on loopback, with the page and a recording in the place of a run, for as long as somebody wants to look."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.hub.sign_in import Denied, Granted
from orchestrator.protocol.codes import Action
from orchestrator.protocol.dashboard import RUN
from orchestrator.protocol.tokens import Claims, Grants, TokenRefused, mint, verify
from orchestrator.runtime.listening import listen
from orchestrator.runtime.replay_peer import REPLAY, ReplayPeer
from orchestrator.runtime.runner import fresh_key
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.hub.sign_in import Wish
    from orchestrator.protocol.tokens import SecretKey
    from orchestrator.runtime.replay_player import Player

TOKEN_LIFE: Final = 3_600
"""Seconds."""
_ENDING: Final = 0.2


class ReplayEntrance:
    """Lets in the user who shows the recording, and whoever has the link, which is good once."""

    def __init__(self, key: SecretKey, wall: Callable[[], float] = time.time) -> None:
        self.code = secrets.token_hex(16)
        self._key, self._wall = key, wall
        self._used = False

    async def sign_in(self, wish: Wish) -> Granted | Denied:
        if wish.token:
            try:
                _, claims = verify(wish.token, {self._key.id: self._key}, self._wall())
            except TokenRefused:
                return Denied("this token is not of this replay, or its time is over: open its link again")
            return self._granted(claims.sub, claims.instance)
        if wish.code:
            right = hmac.compare_digest(wish.code.encode("utf-8", "surrogatepass"), self.code.encode())
            if self._used or not right:
                return Denied("this link is not good any more: start the replay again for another one")
            self._used = True
        elif not wish.local:
            return Denied("nothing was given to sign in with")
        return self._granted(f"{ASKER}/dashboard-{secrets.token_hex(4)}", secrets.token_hex(8))

    def _granted(self, peer: str, instance: str | None) -> Granted:
        expires_at = int(self._wall()) + TOKEN_LIFE
        claims = Claims(
            sub=peer,
            exp=expires_at,
            channels=("**",),
            permissions=frozenset({Action.SUBSCRIBE, Action.PRESENCE, Action.SEND}),
            grants=Grants(observe=("**",), presence=("**",), send=(f"{RUN}/*",)),
            instance=instance,
        )
        return Granted(mint(self._key, claims), expires_at, peer)


async def show(player: Player, *, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the link, once there is somebody behind it.

    Raises `CannotListen`, and `NoRecording` when the file cannot be read any more.
    """
    key = replace(fresh_key(), rate="unlimited")
    settings = Settings(drain_window=_ENDING, drain_grace=_ENDING)
    with listen("127.0.0.1", port) as listening:
        server = Server(KeyRing([key]), settings)
        entrance = server.entrance = ReplayEntrance(key)
        await server.start(listening)
        try:
            peer = ReplayPeer(server.url, key, player)
            playing = asyncio.create_task(peer.run(), name=REPLAY)
            stop = asyncio.create_task(_stopped(), name="stop")
            online = asyncio.create_task(peer.online.wait(), name="first connection")
            try:
                await asyncio.wait([playing, stop, online], return_when=asyncio.FIRST_COMPLETED)
                if online.done():
                    ready(f"{server.http_url}/#code={entrance.code}")
                await asyncio.wait([playing, stop], return_when=asyncio.FIRST_COMPLETED)
                if playing.done():
                    playing.result()
            finally:
                for task in (playing, stop, online):
                    task.cancel()
                await asyncio.gather(playing, stop, online, return_exceptions=True)
            await server.drain()
        except BaseException:
            await server.cut()
            raise


async def _stopped() -> None:
    """Return when the process is asked to end."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    ends = (signal.SIGINT, signal.SIGTERM)
    for number in ends:
        loop.add_signal_handler(number, asked.set)
    try:
        await asked.wait()
    finally:
        for number in ends:
            loop.remove_signal_handler(number)
