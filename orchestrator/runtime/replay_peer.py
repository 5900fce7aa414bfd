"""A recording as a peer of a hub, in the place of the run that it is of: dashboards find it, watch it, and move it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw, Struct

from orchestrator.client.connection import Client
from orchestrator.client.events import DirectReceived
from orchestrator.errors import ConnectionProblem, PeerNotFound
from orchestrator.protocol.codes import Action
from orchestrator.protocol.dashboard import RUN, RUNS, RunAnswer, RunRequest, Unwatch, Watch, decode_to_run
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.tokens import Claims, Grants, mint
from orchestrator.runtime.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.protocol.tokens import SecretKey
    from orchestrator.runtime.replay_player import Player

EVERY: Final = 0.2
"""Seconds between two updates."""
SLOWEST: Final = 0.1
FASTEST: Final = 1000.0
MAX_WATCHERS: Final = 16
REPLAY: Final = f"{RUN}/replay"
TOKEN_LIFE: Final = 900
"""Seconds."""
_PAST: Final = "this is a recording of a run, and what has happened cannot be changed: it can only be played"


class _Play(Struct, frozen=True, forbid_unknown_fields=True):
    speed: float | None = None
    paused: bool | None = None
    position: float | None = None


class ReplayPeer:
    """`run` it as long as the recording is to be shown. It goes on by itself from the first dashboard on that looks."""

    def __init__(
        self, url: str, key: SecretKey, player: Player, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._key, self._player, self._clock = url, key, player, clock
        self._paused = False
        self._watchers: dict[str, Watcher] = {}
        self.online = asyncio.Event()
        """Dashboards find it."""
        self._going = asyncio.Event()
        """There is something to move on: somebody looks, it is not paused, and it is not over."""
        self._moving = asyncio.Lock()
        self._outlined = 0
        self._tasks: asyncio.TaskGroup
        self._client: Client

    async def run(self) -> None:
        """Raises `ConnectionProblem` when the hub is gone, and `NoRecording` when the file is."""
        self._client = Client(self._url, token_provider=self._token, daemon=True)
        async with self._client, asyncio.TaskGroup() as self._tasks:
            await self._client.subscribe(RUNS)
            self.online.set()
            playing = self._tasks.create_task(self._play(), name="replay")
            async for event in self._client.events():
                if isinstance(event, DirectReceived):
                    await self._asked(event.sender, event.data)
            for task in (playing, *(watcher.task for watcher in self._watchers.values())):
                task.cancel()

    # -- what dashboards ask for

    async def _asked(self, sender: str, data: Raw) -> None:
        try:
            message = decode_to_run(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # it is none of ours
        match message:
            case Watch():
                self._watched_by(sender)
            case Unwatch():
                self._forget(sender)
            case RunRequest():
                answer = await self._answer(message)
                with contextlib.suppress(ConnectionProblem):  # whoever asked is gone
                    await self._client.send(sender, Raw(encode_json(answer)), in_parts=True)

    async def _answer(self, request: RunRequest) -> RunAnswer:
        if request.do != "play":
            return RunAnswer(request.id, error=_PAST)
        try:
            wish = msgspec.convert(request.arguments, _Play)
        except msgspec.ValidationError as error:
            return RunAnswer(request.id, error=f"play: {error}; it takes speed, paused and position")
        if wish.speed is not None and not SLOWEST <= wish.speed <= FASTEST:
            return RunAnswer(request.id, error=f"play: speed is a number from {SLOWEST:g} to {FASTEST:g}")
        async with self._moving:
            state = self._player.state
            if wish.speed is not None:
                state.speed = wish.speed
            if wish.paused is not None:
                self._paused = wish.paused
            if wish.position is not None:
                await asyncio.to_thread(self._player.move, wish.position)
                self._player.state.forget()
                self._tell_anew()
            state = self._player.state
            self._note_going()
            result = {"speed": state.speed, "paused": self._paused, "position": round(state.position, 3)}
        return RunAnswer(request.id, result)

    def _watched_by(self, sender: str) -> None:
        watcher = self._watchers.get(sender)
        if watcher is None:
            if len(self._watchers) >= MAX_WATCHERS:
                return
            watcher = self._watchers[sender] = Watcher(sender)
            watcher.task = self._tasks.create_task(self._serve(watcher), name=f"dashboard {sender}")
        watcher.start_over()
        self._note_going()

    def _forget(self, sender: str) -> None:
        watcher = self._watchers.pop(sender, None)
        if watcher is not None:
            watcher.task.cancel()
        self._note_going()

    def _note_going(self) -> None:
        if self._watchers and not self._paused and self._player.position < self._player.seconds:
            self._going.set()
        else:
            self._going.clear()

    # -- what they are told

    async def _play(self) -> None:
        """Move on while somebody looks, in steps that the speed makes longer or shorter."""
        while True:
            await self._going.wait()
            began = self._clock()
            await asyncio.sleep(EVERY)
            if not self._going.is_set():
                continue
            async with self._moving:
                player = self._player
                target = player.position + (self._clock() - began) * player.state.speed
                await asyncio.to_thread(player.move, target)
                self._tell()
            self._note_going()

    def _tell(self) -> None:
        state = self._player.state
        if state.agents != self._outlined:
            self._tell_anew()
        update = state.take()
        if update is not None:
            told = encode_json(update)
            for watcher in self._watchers.values():
                watcher.put(told)

    def _tell_anew(self) -> None:
        for watcher in self._watchers.values():
            watcher.start_over()

    async def _serve(self, watcher: Watcher) -> None:
        """Tell one dashboard what there is, in order, until it is gone."""
        while True:
            await watcher.news.wait()
            async with self._moving:
                messages = watcher.take(self._beginning)
            for message in messages:
                try:
                    await self._client.send(watcher.peer, Raw(message), in_parts=True)
                except PeerNotFound:
                    self._watchers.pop(watcher.peer, None)
                    self._note_going()
                    return
                except ConnectionProblem:  # what it missed is in the next beginning
                    watcher.start_over()
                    break

    def _beginning(self, _watcher: Watcher) -> list[bytes]:
        state = self._player.state
        self._outlined = state.agents
        return [encode_json(state.outline), encode_json(state.whole())]

    async def _token(self) -> str:
        claims = Claims(
            sub=REPLAY,
            exp=int(time.time()) + TOKEN_LIFE,
            channels=(RUNS,),
            permissions=frozenset({Action.SUBSCRIBE, Action.PRESENCE, Action.SEND}),
            peer_metadata={"kind": "run", "name": self._player.state.outline.name, "node": "replay"},
            grants=Grants(subscribe=(RUNS,), send=("**",)),
            instance=secrets.token_hex(8),
            rate="unlimited",
        )
        return mint(self._key, claims)
