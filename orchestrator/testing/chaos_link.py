"""One connection through the proxy: two sockets and what goes between them. There are no tasks."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from orchestrator.testing.chaos_flow import Flow, Side
from orchestrator.testing.faults import DOWNSTREAM, UPSTREAM, stream
from orchestrator.testing.frame_gate import FrameGate, Opening
from orchestrator.testing.lane import Lane

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable, Mapping

    from orchestrator.testing.chaos_log import ProxyLog
    from orchestrator.testing.faults import Direction, Fault
    from orchestrator.testing.frame_gate import Noted
    from orchestrator.testing.frame_rules import RuleInForce

Address: TypeAlias = tuple[socket.AddressFamily, tuple[str, int]]
"""A family, and a numeric host with its port."""


class Link:
    """Passes bytes both ways, until one of the sides or the proxy ends it.

    One that ends orderly stays for as long as the two sides take to end their streams, and throws away what they say.
    """

    def __init__(
        self,
        number: int,
        client: socket.socket,
        target: Address,
        loop: asyncio.AbstractEventLoop,
        rules: Mapping[int, RuleInForce],
        seed: int,
        log: ProxyLog,
        gone: Callable[[Link], None],
    ) -> None:
        """`rules` are those of the proxy. `gone` is told when no socket is left."""
        family, self._address = target
        self.number = number
        self.passing = True
        """Bytes are passed on, or will be; no longer once the end has begun."""
        self.opening = Opening()
        self._loop, self._seed, self._log, self._gone = loop, seed, log, gone
        self._client = Side(client, loop)
        self._hub = Side(socket.socket(family, socket.SOCK_STREAM), loop)
        self._state: Literal["undialled", "dialling", "dialled"] = "undialled"
        self._partitioned = False
        self._flows: dict[Direction, Flow] = {
            UPSTREAM: self._flow(UPSTREAM, self._client, self._hub, rules),
            DOWNSTREAM: self._flow(DOWNSTREAM, self._hub, self._client, rules),
        }

    def _flow(self, direction: Direction, source: Side, sink: Side, rules: Mapping[int, RuleInForce]) -> Flow:
        def note(noted: Noted) -> None:
            what, size, opcode, frame_type, detail = noted
            self._log.note(what, self.number, direction, size, opcode=opcode, frame_type=frame_type, detail=detail)

        gate = FrameGate(direction, self.opening, rules, partial(self._chance, direction), note)
        return Flow(
            Lane(gate, stalled=True),
            source,
            sink,
            self._loop,
            on_passed=partial(self._log.note, "passed", self.number, direction),
            on_eof=partial(self._eof_passed, direction),
            on_end=self.end,
        )

    def _chance(self, direction: Direction, number: int) -> random.Random:
        """Return the random numbers that one direction draws for one fault or rule."""
        return stream(self._seed, self.number, number, direction)

    # -- what the proxy does

    def take_hold(self, number: int, fault: Fault) -> None:
        for direction, flow in self._flows.items():
            if fault.touches(direction):
                flow.lane.take_hold(number, fault, self._chance(direction, number), self._loop.time())

    def let_go(self, number: int) -> None:
        """Note that a fault or rule is in force no longer."""
        for flow in self._flows.values():
            flow.lane.let_go(number, self._loop.time())

    def partition(self, on: bool) -> None:
        """Hold everything back, or go on. The first call begins it all: the hub is dialled when there is a way."""
        self._partitioned = on
        self.wake()
        if self.passing and not on and self._state == "undialled":
            self._dial()

    def wake(self) -> None:
        """Do what faults, rules and partitions make of it now."""
        for flow in self._flows.values():
            flow.lane.stalled = self._partitioned or self._state != "dialled"
            if self.passing and (self._state == "dialled" or flow is self._flows[UPSTREAM]):
                flow.run()

    def end(self, how: Literal["fin", "reset"], why: str) -> None:
        """Stop passing bytes on. What was taken in and not passed on is lost."""
        if not self.passing:
            return
        self._stop()
        self._log.note("reset" if how == "reset" else "closed", self.number, detail=why)
        if how == "reset":
            self.abandon()
            return
        if self._state != "dialled":
            self._hub.close(reset=False)
        for side in (self._client, self._hub):
            if side.open:
                side.throw_away(self._forget_if_closed)

    def abandon(self) -> None:
        """Reset whatever socket is left."""
        self._stop()
        self._client.close(reset=True)
        self._hub.close(reset=True)
        self._gone(self)

    # -- how

    def _stop(self) -> None:
        self.passing = False
        for flow in self._flows.values():
            flow.stop()

    def _dial(self) -> None:
        self._state = "dialling"
        failed = self._hub.sock.connect_ex(self._address)
        if failed in (0, errno.EINPROGRESS):
            self._hub.on_writable(self._dialled)
        else:
            self._unreachable(failed)

    def _dialled(self) -> None:
        self._hub.on_writable(None)
        failed = self._hub.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            self._unreachable(failed)
            return
        self._state = "dialled"
        self._log.note("connected", self.number)
        self.wake()

    def _unreachable(self, failed: int) -> None:
        self._log.note("unreachable", self.number, detail=os.strerror(failed))
        self.end("reset", "the hub could not be reached")

    def _eof_passed(self, direction: Direction) -> None:
        self._log.note("eof", self.number, direction)
        if all(flow.ended for flow in self._flows.values()):
            self.end("fin", "both sides have ended it")

    def _forget_if_closed(self) -> None:
        if not (self._client.open or self._hub.open):
            self._gone(self)
