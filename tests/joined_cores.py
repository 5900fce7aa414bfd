"""The cores of two hubs that look like one, and a real broker between them that is always done with its work.

For tests whose time is their own: whenever they look at what the hubs want written, everything that the hubs have said to
each other has been carried there by the broker, and that has taken no time.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from orchestrator.hub import holdings
from orchestrator.hub.core import Hub
from orchestrator.hub.joining import open_backplane
from tests.nodes import at_the_end_of_the_test, joined, new_neighbourhood

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from orchestrator.hub.admission import Identity
    from orchestrator.hub.backplane import Backplane, Topic
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.outbox import Outbox, Turn
    from orchestrator.hub.rosters import Reason
    from orchestrator.hub.settings import Settings

_T = TypeVar("_T")
_PATIENCE: Final = 20.0
"""Seconds that a broker may take."""


def new_hub(settings: Settings, on_fault: Callable[[Exception], None] | None = None) -> Hub:
    """Return a hub, or, where a test is to be run on two, both of them."""
    url = new_neighbourhood()
    if url is None:
        return Hub(settings, on_fault)
    _close_unused()
    hubs = [Hub(settings, on_fault) for _ in range(2)]
    carrier = Carrier(url, hubs)
    both = TwoHubs(hubs, carrier)
    weakref.finalize(both, _unused.append, carrier)  # which may be called anywhere, also in the other thread
    at_the_end_of_the_test(carrier.close)
    return cast(Hub, both)


def new_hub_in_a_standing_time(settings: Settings, on_fault: Callable[[Exception], None] | None = None) -> Hub:
    """Do the same for a test that looks at once, where no time passes in which hubs gather what they tell each other."""
    gather = holdings._GATHER

    def restore() -> None:
        holdings._GATHER = gather  # type: ignore[misc]

    hub = new_hub(settings, on_fault)
    if joined():
        at_the_end_of_the_test(restore)
        holdings._GATHER = 0.0  # type: ignore[misc]
    return hub


_unused: Final[list[Carrier]] = []


def _close_unused() -> None:
    while _unused:
        _unused.pop().close()


class TwoHubs:
    """Does what a `Hub` does, by turns."""

    def __init__(self, hubs: Sequence[Hub], carrier: Carrier | None = None) -> None:
        """Without a carrier it is for looking at alone."""
        self._hubs = tuple(hubs)
        self._carrier = carrier
        self._by_turn = {id(hub.turn): hub for hub in hubs}
        self._made = 0
        self.turn = cast("Turn", _Turns(hubs, carrier))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hubs[0], name)

    def _of(self, outbox: Outbox) -> Hub:
        return self._by_turn[id(outbox.turn)]

    # -- connections

    def outbox(self) -> Outbox:
        self._made += 1
        return self._hubs[(self._made - 1) % len(self._hubs)].outbox()

    def connect(self, identity: Identity, outbox: Outbox, now: float, wall: float) -> Connection | None:
        if self._carrier is not None:
            self._carrier.begin(now)
        return self._of(outbox).connect(identity, outbox, now, wall)

    def disconnect(self, connection: Connection, now: float, *reason: Reason) -> None:
        self._of(connection.outbox).disconnect(connection, now, *reason)

    def receive(self, connection: Connection, text: bytes, now: float) -> None:
        self._of(connection.outbox).receive(connection, text, now)

    def receive_binary(self, connection: Connection, message: bytes, now: float) -> None:
        self._of(connection.outbox).receive_binary(connection, message, now)

    def receive_ping(self, connection: Connection, payload: bytes, now: float) -> None:
        self._of(connection.outbox).receive_ping(connection, payload, now)

    def receive_pong(self, connection: Connection, now: float) -> None:
        self._of(connection.outbox).receive_pong(connection, now)

    def receive_fragment(self, connection: Connection, now: float) -> bool:
        return self._of(connection.outbox).receive_fragment(connection, now)

    def violation(self, connection: Connection, code: Any, now: float) -> None:
        self._of(connection.outbox).violation(connection, code, now)

    def stalled(self, connection: Connection, unsent: int, now: float) -> None:
        self._of(connection.outbox).stalled(connection, unsent, now)

    def resumed(self, connection: Connection, now: float) -> None:
        self._of(connection.outbox).resumed(connection, now)

    # -- both

    @property
    def settings(self) -> Settings:
        return self._hubs[0].settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        for hub in self._hubs:
            hub.settings = settings

    @property
    def cluster(self) -> _Clusters:
        return _Clusters(self._hubs)

    @property
    def next_deadline(self) -> float | None:
        return min((hub.next_deadline for hub in self._hubs if hub.next_deadline is not None), default=None)

    def tick(self, now: float) -> None:
        for hub in self._hubs:
            hub.tick(now)

    def connections(self) -> Iterator[Connection]:
        for hub in self._hubs:
            yield from hub.connections()

    def rekey(self, keys: KeyRing, now: float) -> None:
        for hub in self._hubs:
            hub.rekey(keys, now)

    def drain(self, now: float) -> float:
        return max(hub.drain(now) for hub in self._hubs)


class _Turns:
    """The turns of all hubs at once."""

    def __init__(self, hubs: Sequence[Hub], carrier: Carrier | None) -> None:
        self._hubs = hubs
        self._carrier = carrier

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hubs[0].turn, name)

    @property
    def dirty(self) -> list[Outbox]:
        if self._carrier is not None:
            self._carrier.carry()
        return [outbox for hub in self._hubs for outbox in hub.turn.dirty]

    @dirty.setter
    def dirty(self, none: list[Outbox]) -> None:
        assert not none
        for hub in self._hubs:
            hub.turn.dirty = []

    @property
    def owed(self) -> bool:
        return any(hub.turn.owed for hub in self._hubs)


class _Clusters:
    def __init__(self, hubs: Sequence[Hub]) -> None:
        self._hubs = hubs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hubs[0].cluster, name)

    def speak(self) -> None:
        _speak(self._hubs)


def _speak(hubs: Sequence[Hub]) -> None:
    for hub in hubs:
        if hub.turn.owed and hub.cluster is not None:
            hub.cluster.speak()


class Carrier:
    """The ends of the broker. They live on a loop in a thread, and whoever calls waits for it: only one of both runs."""

    def __init__(self, url: str, hubs: Sequence[Hub]) -> None:
        self.said: list[Callable[[], object]] = []
        self._passed: dict[int, asyncio.Future[None]] = {}
        self._tickets = 0
        self._hubs = hubs
        self._closed = False
        self._ears = [_Ear(self, hub) for hub in hubs]
        self._ends = [open_backplane(url, f"hub-{number}", ear) for number, ear in enumerate(self._ears)]
        self._begun = False
        _in_thread(self._open())

    def begin(self, now: float) -> None:
        """Have the hubs join each other, at the time of the first thing that happens; again, it does nothing."""
        if not self._begun:
            self._begun = True
            for number, (hub, end) in enumerate(zip(self._hubs, self._ends, strict=True)):
                hub.join(f"hub-{number}", _End(self, end), now)
            self.carry()

    def carry(self) -> None:
        """Have everything be heard that was said, and what was said to that."""
        if not self._closed and (self.said or any(hub.turn.owed for hub in self._hubs)):
            _in_thread(self._carry())

    async def _open(self) -> None:
        for end in self._ends:
            await end.__aenter__()

    async def _carry(self) -> None:
        while True:
            _speak(self._hubs)
            said, self.said = self.said, []
            if not said:
                return
            for say in said:
                say()
            await self._pass()  # it is with the broker, which has sent it on,
            await self._pass()  # and it has come
            for hub in self._hubs:
                if hub.next_deadline is not None and hub.next_deadline <= hub.turn.now:
                    hub.tick(hub.turn.now)

    async def _pass(self) -> None:
        for end in self._ends:
            self._tickets -= 1
            self._passed[self._tickets] = asyncio.get_running_loop().create_future()
            end.barrier(self._tickets)
        await asyncio.gather(*self._passed.values())
        self._passed.clear()

    def passed(self, ticket: int) -> None:
        self._passed[ticket].set_result(None)

    def close(self) -> None:
        """Disconnect; again, it does nothing."""
        if not self._closed:
            self._closed = True
            _in_thread(self._close())

    async def _close(self) -> None:
        for end in self._ends:
            await end.__aexit__(None, None, None)


class _End:
    """One hub's end, to which everything is said when the other thread has its turn."""

    up = True

    def __init__(self, carrier: Carrier, end: Backplane) -> None:
        self._carrier = carrier
        self._end = end
        self.largest = end.largest

    async def __aenter__(self) -> Backplane:
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError

    def _say(self, do: Callable[[], object]) -> None:
        self._carrier.said.append(do)

    def listen(self, topic: Topic) -> None:
        self._say(partial(self._end.listen, topic))

    def ignore(self, topic: Topic) -> None:
        self._say(partial(self._end.ignore, topic))

    def barrier(self, ticket: int) -> None:
        self._say(partial(self._end.barrier, ticket))

    def publish(self, topic: Topic, message: bytes) -> bool:
        self._say(lambda: _taken(self._end.publish(topic, message)))
        return True

    def ask(self, topic: Topic, message: bytes, ticket: int) -> bool:
        self._say(lambda: _taken(self._end.ask(topic, message, ticket)))
        return True


def _taken(taken: bool) -> None:
    assert taken, "the broker did not take it"


class _Ear:
    def __init__(self, carrier: Carrier, hub: Hub) -> None:
        self._carrier = weakref.proxy(carrier)
        self._hub = hub

    def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        self._hub.turn.now = max(hub.turn.now for hub in self._carrier._hubs)
        call(*arguments)
        self._hub.drop_slow()

    def heard(self, message: bytes) -> None:
        assert self._hub.cluster is not None
        self._do(self._hub.cluster.heard, message)

    def nobody(self, ticket: int) -> None:
        assert self._hub.cluster is not None
        self._do(self._hub.cluster.nobody, ticket)

    def passed(self, ticket: int) -> None:
        if ticket < 0:
            self._carrier.passed(ticket)
            return
        assert self._hub.cluster is not None
        self._do(self._hub.cluster.passed, ticket)

    def turned(self, up: bool, why: str) -> None:
        raise AssertionError(f"the broker is to stay: {up}, {why}")


# -- the other thread

_loop: asyncio.AbstractEventLoop | None = None


def _in_thread(work: Coroutine[Any, Any, _T]) -> _T:
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
        threading.Thread(target=_loop.run_forever, name="carrier", daemon=True).start()
    return asyncio.run_coroutine_threadsafe(work, _loop).result(_PATIENCE)
