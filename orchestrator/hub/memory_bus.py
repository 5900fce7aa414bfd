"""An engine in memory, which joins hubs of one process: for tests, and for simulations of bad days."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.hub.backplane import Kind
from orchestrator.protocol.globs import Star, has_star, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from orchestrator.hub.backplane import Listener, Topic

ROOM: Final = 64 * 1024 * 1024
LARGEST: Final = 8 * 1024 * 1024


class MemoryBus:
    """Everything that ends say is done in the order of its saying, when the bus is stepped by `pump`; `soon` is told
    when there is something to do (`MemoryBus.on_loop()` does it on the next turn of the running loop).

    It takes all liberties that a `Listener` has to bear with: a message comes once for each topic that takes it, and
    by a pattern comes all that begins like it.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        self._soon = soon
        self._steps: deque[Callable[[], None]] = deque()
        self._due = False
        self._ends: list[MemoryEnd] = []
        self._islands: dict[MemoryEnd, int] = {}

    @classmethod
    def on_loop(cls) -> MemoryBus:
        return cls(lambda step: asyncio.get_running_loop().call_soon(step))

    def end(self, listener: Listener, room: int = ROOM) -> MemoryEnd:
        """Return an end for one more hub. `room` are the bytes that may wait of what it has said."""
        return MemoryEnd(self, listener, room)

    def pump(self) -> None:
        """Do everything that there is to do, and what comes of it."""
        self._due = False
        while self._steps:
            self._steps.popleft()()

    # -- bad days

    def away(self, *ends: MemoryEnd, why: str = "the bus is away") -> None:
        """Be gone for these ends, or for all. What they have said and was not done yet is lost."""
        for end in ends or tuple(self._ends):
            end.lose(why)

    def back(self, *ends: MemoryEnd) -> None:
        """Be there again for these ends, or for all."""
        for end in ends or tuple(self._ends):
            end.regain()

    def split(self, *islands: Iterable[MemoryEnd]) -> None:
        """Have nothing pass between islands from now on, though each end finds its bus up; ends that are named in none
        of them are one more.
        """
        self._islands = {end: number for number, island in enumerate(islands, 1) for end in island}

    def heal(self) -> None:
        self._islands = {}

    # -- what ends call

    def _enter(self, end: MemoryEnd) -> None:
        self._ends.append(end)

    def _leave(self, end: MemoryEnd) -> None:
        self._ends.remove(end)
        self._islands.pop(end, None)

    def _do(self, step: Callable[[], None]) -> None:
        self._steps.append(step)
        if not self._due and self._soon is not None:
            self._due = True
            self._soon(self.pump)

    def _spread(self, origin: MemoryEnd, topic: Topic, message: bytes) -> bool:
        """Hand a message to all that take it; `False` = nobody does."""
        island = self._islands.get(origin, 0)
        taken = False
        for end in tuple(self._ends):
            if end is not origin and self._islands.get(end, 0) == island:
                taken = end.hand(topic, message) or taken
        return taken


class MemoryEnd:
    """One hub's end of a `MemoryBus`."""

    def __init__(self, bus: MemoryBus, listener: Listener, room: int) -> None:
        self._bus = bus
        self._listener = listener
        self._room = room
        self._waiting = 0
        self._topics: dict[Topic, None] = {}
        self._exact: set[Topic] = set()
        """The topics that are in force, but for patterns."""
        self._wild: dict[Topic, str] = {}
        """The patterns in force, and how everything begins that each matches."""
        self._life = 0
        """Counts the times that it was away: what was said before is not done any more."""
        self._up = False

    async def __aenter__(self) -> MemoryEnd:
        self.join()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.part()

    def join(self) -> None:
        self._bus._enter(self)
        self._heed_all()
        self._up = True

    def part(self) -> None:
        """Leave, after everything that was said."""
        if not self._up:
            self._gone()
            return
        self._do(self._gone)
        self._up = False
        if self._bus._soon is not None:
            self._bus.pump()

    def _gone(self) -> None:
        self._bus._leave(self)
        self._life += 1

    @property
    def up(self) -> bool:
        return self._up

    @property
    def largest(self) -> int:
        return LARGEST

    def listen(self, topic: Topic) -> None:
        assert topic not in self._topics, f"{topic} is listened to twice"
        self._topics[topic] = None
        self._do(partial(self._heed, topic))

    def ignore(self, topic: Topic) -> None:
        del self._topics[topic]
        self._do(partial(self._disregard, topic))

    def barrier(self, ticket: int) -> None:
        self._do(partial(self._listener.passed, ticket))

    def publish(self, topic: Topic, message: bytes) -> bool:
        return self._say(topic, message, None)

    def ask(self, topic: Topic, message: bytes, ticket: int) -> bool:
        return self._say(topic, message, ticket)

    def _say(self, topic: Topic, message: bytes, ticket: int | None) -> bool:
        if not self._up or len(message) > LARGEST or self._waiting + len(message) > self._room:
            return False
        self._waiting += len(message)
        self._do(partial(self._said, topic, message, ticket))
        return True

    def _said(self, topic: Topic, message: bytes, ticket: int | None) -> None:
        self._waiting -= len(message)
        if not self._bus._spread(self, topic, message) and ticket is not None:
            self._listener.nobody(ticket)

    def _do(self, step: Callable[[], None]) -> None:
        if self._up:
            self._bus._do(partial(self._unless_lost, self._life, step))

    def _unless_lost(self, life: int, step: Callable[[], None]) -> None:
        if life == self._life:
            step()

    def hand(self, topic: Topic, message: bytes) -> bool:
        """Hear a message, if a topic of ours takes it."""
        times = int(topic in self._exact)
        if topic.kind is Kind.CHANNEL:
            times += sum(own.app == topic.app and topic.text.startswith(prefix) for own, prefix in self._wild.items())
        for _ in range(times):
            self._listener.heard(message)
        return times > 0

    def _heed(self, topic: Topic) -> None:
        if topic.kind is Kind.CHANNEL and has_star(topic.text):
            self._wild[topic] = _beginning(topic.text)
        else:
            self._exact.add(topic)

    def _disregard(self, topic: Topic) -> None:
        self._exact.discard(topic)
        self._wild.pop(topic, None)

    def _heed_all(self) -> None:
        for topic in self._topics:
            self._heed(topic)

    def _disregard_all(self) -> None:
        self._exact.clear()
        self._wild.clear()

    # -- bad days

    def lose(self, why: str) -> None:
        if self._up:
            self._up = False
            self._life += 1
            self._waiting = 0
            self._disregard_all()
            self._listener.turned(False, why)

    def regain(self) -> None:
        if not self._up:
            self._up = True
            self._heed_all()
            self._listener.turned(True, "")


def _beginning(pattern: str) -> str:
    parts = tokens(pattern)
    first = next((at for at, part in enumerate(parts) if isinstance(part, Star)), len(parts))
    return "".join(map(str, parts[:first]))
