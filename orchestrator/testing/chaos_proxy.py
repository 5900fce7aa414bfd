"""A proxy between clients and a hub that does to their connections what networks do, on request and reproducibly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from orchestrator.client.url import parse_origin
from orchestrator.testing.chaos_door import HOST, ChaosDoor
from orchestrator.testing.chaos_link import Link
from orchestrator.testing.chaos_log import ProxyLog
from orchestrator.testing.faults import Fault, check_seconds
from orchestrator.testing.frame_gate import UNREADABLE
from orchestrator.testing.frame_rules import FrameRule
from orchestrator.testing.in_force import InForce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from orchestrator.testing.chaos_link import Address
    from orchestrator.testing.chaos_log import ProxyEvent, What
    from orchestrator.testing.in_force import Trouble

Mode: TypeAlias = Literal["accept", "refuse", "fin", "reset"]
"""What becomes of whoever connects: passed on, refused, or accepted and ended at once."""
Action: TypeAlias = "Fault | FrameRule | Callable[[ChaosProxy], object]"
_SWITCHED: Final[dict[Mode, What]] = {
    "accept": "accepting",
    "refuse": "refusing",
    "fin": "accepting to close",
    "reset": "accepting to close",
}


class ChaosProxy:
    """Listens on a free port of the loopback interface, and passes every connection on to a hub.

    Everything is decided by `seed` and by what is asked of the proxy: chance is drawn anew for each connection, by its
    number, so that the same connections meet the same faults again. At most 64 KiB are read from one side before the
    other has taken them (with frame rules, and one unfinished frame). All methods but the awaitables take effect
    before they return. An object is entered once, and belongs to one event loop.
    """

    def __init__(
        self,
        target: str,
        *,
        seed: int = 0,
        faults: Sequence[Trouble] = (),
        schedule: Sequence[tuple[float, Action]] = (),
        log_size: int = 10_000,
    ) -> None:
        """`target` is ``ws://host:port``, ``wss://host:port`` or ``host:port``.

        `faults` are in force from the start; `schedule` is a list of what `at` takes. The log keeps the latest
        `log_size` events. Raises `ValueError` for a target that cannot be one.
        """
        self._target = parse_origin(target if "://" in target else f"ws://{target}")
        self.seed = seed
        self._schedule: list[tuple[float, Action]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened_at = 0.0
        self._log = ProxyLog(log_size, lambda: 0.0 if self._loop is None else self._loop.time())
        self._address: Address
        self._door: ChaosDoor | None = None
        self._mode: Mode = "accept"
        self._partitioned = False
        self._accepted = 0
        self._links: set[Link] = set()
        self._in_force = InForce(seed)
        self._timers: list[asyncio.TimerHandle] = []
        self._failure: Exception | None = None
        self.add(*faults)
        for seconds, action in schedule:
            self.at(seconds, action)

    # -- life

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a ChaosProxy is entered once; make a new one")
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._target.host, self._target.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        self._address = (family, (str(address[0]), int(address[1])))
        self._loop, self._opened_at = loop, loop.time()
        self._door = ChaosDoor(loop, self._take_in, self._fail)
        self._listen_or_not()
        for seconds, action in self._schedule:
            self._call_at(seconds, action)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Reset every connection that is left. Raises what a scheduled action raised, unless something else is."""
        for timer in self._timers:
            timer.cancel()
        if self._door is not None:
            self._door.close()
        for link in list(self._links):
            link.abandon()
        self._log.close()
        if self._failure is not None and error is None:
            raise self._failure

    def __repr__(self) -> str:
        where = "not open" if self._door is None else f"on port {self._door.port}"
        return f"<ChaosProxy {where} for {self._target}: {self._mode}, {self.open_connections} open>"

    # -- what there is to know

    @property
    def url(self) -> str:
        """Where clients connect: the same for as long as the proxy is open. Raises `RuntimeError` before."""
        return f"{'wss' if self._target.secure else 'ws'}://{HOST}:{self.port}"

    @property
    def port(self) -> int:
        if self._door is None:
            raise RuntimeError("the proxy has no port yet: use it in `async with ChaosProxy(...) as proxy:`")
        return self._door.port

    @property
    def accepted(self) -> int:
        """Connections accepted so far, also those that were ended at once."""
        return self._accepted

    @property
    def open_connections(self) -> int:
        """Connections whose bytes are passed on."""
        return sum(link.passing for link in self._links)

    @property
    def events(self) -> tuple[ProxyEvent, ...]:
        """The latest events, oldest first."""
        return tuple(self._log.events)

    async def seen(self, wanted: Callable[[ProxyEvent], bool], *, after: ProxyEvent | None = None) -> ProxyEvent:
        """Return the first event for which `wanted` is true: one that is kept already, or the next one.

        With `after` only events later than that one count. Raises what `wanted` raises, and `RuntimeError` when the
        proxy is closed first.
        """
        return await self._log.seen(wanted, after)

    async def wait_for(self, *, accepted: int | None = None, open_connections: int | None = None) -> None:
        """Return once at least `accepted` connections were accepted, and just `open_connections` are open.

        Raises `RuntimeError` when the proxy is closed first.
        """
        await self._log.until(
            lambda: (
                (accepted is None or self._accepted >= accepted)
                and (open_connections is None or self.open_connections == open_connections)
            )
        )

    # -- faults and rules

    def add(self, *troubles: Trouble) -> None:
        """Put faults and rules in force, for open connections and for those to come.

        Raises `ValueError` for a frame rule that could never act: on a ``wss://`` target, whose bytes are encrypted, or
        by type while the frames of an open connection are compressed.
        """
        for trouble in troubles:
            self._add(trouble)

    def remove(self, *troubles: Trouble) -> None:
        """Take away what was added last of what equals each of these. Raises `ValueError` if there is none."""
        for trouble in troubles:
            self._remove(self._in_force.number_of(trouble))

    @contextlib.contextmanager
    def fault(self, *troubles: Trouble) -> Iterator[None]:
        """Put faults and rules in force for the body of a `with`."""
        numbers: list[int] = []
        try:
            for trouble in troubles:
                numbers.append(self._add(trouble))  # noqa: PERF401  # what was added is removed, also if one is refused
            yield
        finally:
            for number in numbers:
                self._remove(number)

    # -- by hand

    def cut(self) -> None:
        """Reset every open connection, on both sides."""
        self._end_all("reset", "cut")

    def close_all(self) -> None:
        """Close every open connection, on both sides, the way that ends streams orderly."""
        self._end_all("fin", "close_all")

    def refuse(self) -> None:
        """Listen no longer: whoever connects is refused. Open connections go on."""
        self._switch("refuse")

    def accept(self) -> None:
        """Accept and pass on, as at the start: on the same port."""
        self._switch("accept")

    def accept_and_close(self, *, reset: bool = False) -> None:
        """Accept, and close or reset at once, like a server that dies again and again. Open connections go on."""
        self._switch("reset" if reset else "fin")

    def partition(self) -> None:
        """Let nothing pass either way, neither bytes nor ends, while all sockets stay open."""
        self._set_partition(True)

    def heal(self) -> None:
        """End a partition: what was held back goes on, and nothing is lost."""
        self._set_partition(False)

    def at(self, seconds: float, action: Action, *, lasting: float | None = None) -> None:
        """Do something that many seconds after the proxy was entered, or now if that is over.

        A fault or rule is added, and removed again after `lasting` seconds; anything else is called with the proxy:
        ``proxy.at(2.0, ChaosProxy.cut)``. What an action raises is raised when the proxy is left.
        """
        check_seconds(self, "seconds", seconds)
        if lasting is not None:
            check_seconds(self, "lasting", lasting)
            if not isinstance(action, Fault | FrameRule):
                raise ValueError("ChaosProxy: only a fault or a rule can be lasting; schedule what undoes this action")
            action = partial(ChaosProxy._add_until, trouble=action, end=seconds + lasting)
        self._schedule.append((seconds, action))
        if self._loop is not None:
            self._call_at(seconds, action)

    # -- how: time

    def _call_at(self, seconds: float, action: Action) -> None:
        assert self._loop is not None
        self._timers.append(self._loop.call_at(self._opened_at + seconds, self._act, action))

    def _act(self, action: Action) -> None:
        try:
            if isinstance(action, Fault | FrameRule):
                self.add(action)
            else:
                action(self)
        except Exception as error:  # noqa: BLE001  # raised when the proxy is left
            self._fail(error)

    def _add_until(self, trouble: Trouble, end: float) -> None:
        number = self._add(trouble)
        self._call_at(end, lambda proxy: proxy._remove(number))

    # -- how: faults

    def _add(self, trouble: Trouble) -> int:
        self._check(trouble)
        number = self._in_force.add(trouble)
        self._log.note("added", detail=repr(trouble))
        self._listen_or_not()
        for link in self._in_order():
            self._in_force.take_hold(number, link)
            link.wake()
        return number

    def _check(self, trouble: Trouble) -> None:
        if not isinstance(trouble, Fault | FrameRule):
            raise TypeError(f"a fault or a frame rule of orchestrator.testing was expected, not {trouble!r}")
        if not isinstance(trouble, FrameRule):
            return
        if self._target.secure:
            raise ValueError(f"{trouble!r}: frames to {self._target} are encrypted; rules need a ws:// target")
        if trouble.type is not None and any(link.opening.compressed for link in self._links):
            raise ValueError(f"{trouble!r}: {UNREADABLE}")

    def _remove(self, number: int) -> None:
        """Take away what has this number; without effect if it was removed before."""
        gone = self._in_force.remove(number)
        if gone is None:
            return
        self._log.note("removed", detail=repr(gone))
        self._listen_or_not()
        for link in self._in_order():
            link.let_go(number)
            link.wake()

    # -- how: connections

    def _switch(self, mode: Mode) -> None:
        self._mode = mode
        self._listen_or_not()
        self._log.note(_SWITCHED[mode])

    def _set_partition(self, on: bool) -> None:
        self._partitioned = on
        self._log.note("partitioned" if on else "healed")
        for link in self._in_order():
            link.partition(on)

    def _end_all(self, how: Literal["fin", "reset"], why: str) -> None:
        for link in self._in_order():
            link.end(how, why)

    def _in_order(self) -> list[Link]:
        return sorted(self._links, key=lambda link: link.number)

    def _listen_or_not(self) -> None:
        if self._door is not None:
            self._door.listen(self._mode != "refuse" and not self._in_force.refuses)

    def _take_in(self, client: socket.socket) -> None:
        assert self._loop is not None
        self._accepted += 1
        try:
            link = Link(
                self._accepted,
                client,
                self._address,
                self._loop,
                self._in_force.rules,
                self.seed,
                self._log,
                self._links.discard,
            )
        except OSError as error:
            client.close()
            self._fail(error)
            return
        self._links.add(link)
        self._log.note("accepted", link.number)
        if self._mode in ("fin", "reset"):
            link.end("reset" if self._mode == "reset" else "fin", "accept_and_close")
        self._in_force.meet(link)
        link.partition(self._partitioned)

    def _fail(self, error: Exception) -> None:
        """Keep the first error for whoever leaves the proxy, since nobody waits for what happens here."""
        self._failure = self._failure or error
