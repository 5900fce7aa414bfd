"""Following the stream: every message on some subjects, the last of each, in their order, and never one left out."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, Final

from nats import errors as nats_errors

from orchestrator.store.nats_engine import ANSWER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from orchestrator.store.nats_engine import Engine

_HEARTBEAT: Final = 2.0
"""Seconds after which the server says that there is nothing to say."""
_SILENCE: Final = 3.0
"""Seconds that a message that is known to be there may take, before it is asked for anew."""
_FORGOTTEN: Final = 1_800.0
"""Seconds after which what was gone in between may not be told any more, so that everything is looked at anew; what is
removed is told for twice as long."""


class Follower:
    """A consumer of the stream, made when it is first needed and made anew when it has missed something."""

    def __init__(
        self,
        engine: Engine,
        filters: Sequence[str],
        heard: Callable[[str, int, bytes], None],
        begin: Callable[[], Awaitable[int]],
    ) -> None:
        """`heard` gets the subject, number and data of each message. `begin` is awaited before everything comes anew, and
        returns the number of a message that nothing before is asked for; 0 = everything is."""
        self._engine, self._filters, self._heard, self._begin = engine, list(filters), heard, begin
        self.seen = 0
        """The number of the last message that came by."""
        self._subscription: Subscription | None = None
        self._turn = -1
        self.delivered = 0
        """How many messages came by since it began, or began anew."""
        self._whole = False
        """Whether nothing is known to be missing."""
        self._reached_at = 0.0
        self._generation = 0
        self._moved = asyncio.Condition()
        self._starting = asyncio.Lock()

    async def reach(self, seq: int) -> None:
        """Return when everything up to a message that is there has come by. Raises `StoreUnavailable` when nothing comes."""
        quiet = 0.0
        while True:
            await self._follow()
            before = self.seen
            try:
                async with asyncio.timeout(_SILENCE), self._moved:
                    await self._moved.wait_for(lambda: self.seen >= seq or not self._whole)
            except TimeoutError:
                self._whole = self._whole and self.seen > before
            if self.seen >= seq:
                self._reached_at = asyncio.get_running_loop().time()
                return
            quiet = quiet + _SILENCE if self.seen == before else 0.0
            if quiet >= ANSWER:
                raise self._engine.unavailable(f"it did not send what it has within {ANSWER:.0f} s")

    async def close(self) -> None:
        subscription, self._subscription = self._subscription, None
        self._whole = False
        if subscription is not None:
            try:
                await subscription.unsubscribe()
            except nats_errors.Error:
                return  # there is no connection that anything could come by any more

    async def _follow(self) -> None:
        if self._whole and self._turn == self._engine.turns:
            return
        async with self._starting:
            if self._whole and self._turn == self._engine.turns:
                return
            await self.close()
            await self._start()

    async def _start(self) -> None:
        engine, loop = self._engine, asyncio.get_running_loop()
        client = engine.client
        if loop.time() - self._reached_at > _FORGOTTEN:
            self.seen = 0
        if not self.seen:
            self.seen = max(await self._begin() - 1, 0)
        self._generation += 1
        self._turn, self.delivered = engine.turns, 0
        name, inbox = f"f{secrets.token_hex(10)}", client.new_inbox()
        try:
            self._subscription = await client.subscribe(inbox, cb=partial(self._came, self._generation))
        except nats_errors.Error as error:
            raise engine.unavailable(str(error)) from None
        config = {
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.seen + 1,
            "filter_subjects": self._filters,
            "ack_policy": "none",
            "flow_control": True,
            "idle_heartbeat": int(_HEARTBEAT * 1e9),
            "inactive_threshold": int(30e9),
            "mem_storage": True,
            "num_replicas": 1,
        }
        stream = engine.subjects.stream
        self._whole = True
        try:
            answer = await engine.api(
                f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config, "action": "create"}
            )
        except BaseException:
            self._whole = False
            raise
        if "error" in answer:
            self._whole = False
            raise engine.unavailable(str(answer["error"].get("description", "it lets nobody follow the stream")))

    async def _came(self, generation: int, message: Msg) -> None:
        if generation != self._generation:
            return  # it was for the one before
        if message.headers and not message.data and message.headers.get("Status") == "100":
            reply = message.reply or message.headers.get("Nats-Consumer-Stalled")
            if reply:
                await self._engine.client.publish(reply)
            return
        place = message.reply.split(".")
        at = 5 if len(place) == 9 else 7  # behind the domain and the account, where those are told
        seq, delivered = int(place[at]), int(place[at + 1])
        if delivered != self.delivered + 1:
            self._whole = False
        else:
            self.delivered = delivered
            self._heard(message.subject, seq, message.data)
            self.seen = seq
        async with self._moved:
            self._moved.notify_all()
