"""The way to a server of Redis: connected when it is first needed and again after it was lost, looked at before it is used."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import StoreUnavailable
from orchestrator.store.errors import StoreUnfit
from orchestrator.store.port import Capabilities
from orchestrator.store.redis_fitness import cannot_serve, facts_of, keeps, unfit
from orchestrator.store.redis_problems import is_demoted, moved_to, refused
from orchestrator.store.redis_scripts import OPEN
from orchestrator.store.redis_wire import ReplyError, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.store.redis_address import RedisAddress
    from orchestrator.store.redis_fitness import ServerFacts
    from orchestrator.store.redis_scripts import Script
    from orchestrator.store.shared import Needs

CONNECT: Final = 3.0
"""Seconds until a connection has to stand, with all that is looked at first."""
LOOKED_AT: Final = 5.0
"""Seconds after which the server is looked at again, before the next request: it may have got a replica meanwhile."""
CLOSING: Final = 2.0
"""Seconds in which what was asked for is answered, before the connection is closed."""
VERSION: Final = 1
"""Of what is kept, and how."""
_MOVES: Final = 3


@dataclass(slots=True)
class Known:
    """What the connections of one store have seen of it."""

    birth: bytes | None = None
    """A word that was drawn when the store was made."""


class RedisLink:
    """Runs scripts. Belongs to the event loop that uses it first."""

    def __init__(
        self,
        address: RedisAddress,
        space: str,
        needs: Needs,
        *,
        known: Known,
        answer: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`space` is what all keys begin with; `answer` = seconds within which the server answers, or counts as gone.

        `clock` gives seconds; `None` = the server's own, the one that all share.
        """
        self.address, self.needs = address, needs
        self.name = str(address)
        self._meta = f"{space}meta".encode()
        self._clock, self._answer = clock, answer
        self._at = (address.host, address.port)
        self._wire: Wire | None = None
        self._looked_at = 0.0
        self._known = known
        durable, strong = not address.allow_loss, not needs.allow_unsafe_claims
        self._capabilities = Capabilities(durable=durable, fenced=True, shared=True, strong=strong)
        self._turning, self._idle = asyncio.Lock(), asyncio.Event()
        self._idle.set()
        self.running = 0
        """Requests on their way."""
        self._failure: StoreUnavailable | None = None
        self._failed_at = 0.0
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """Those of the server as it was last looked at; before that, those that it has to have."""
        return self._capabilities

    async def open(self) -> None:
        """Raises `StoreUnavailable` when there is no answer; `StoreUnfit` = the server is not what is needed."""
        await self._ready()

    async def run(self, script: Script, *words: bytes | str | int | float) -> Any:
        """Return what a script answers. Raises `StoreUnavailable`."""
        self.running += 1
        self._idle.clear()
        try:
            return await self._run(script, words)
        finally:
            self.running -= 1
            if not self.running:
                self._idle.set()

    async def _run(self, script: Script, words: tuple[bytes | str | int | float, ...]) -> Any:
        for _ in range(_MOVES):
            wire = self._wire
            if wire is None or asyncio.get_running_loop().time() - self._looked_at > LOOKED_AT:
                wire = await self._ready()
            reply = await self._asked(wire, script, self._now(), *words)
            if not isinstance(reply, ReplyError):
                return reply
            to = moved_to(reply)
            if to is None:
                if is_demoted(reply):
                    wire.abort("it is a replica by now")
                raise refused(self.name, reply)
            self._at = (to[0] or self._at[0], to[1])
            wire.abort("its keys are kept by another server of its cluster")
        raise StoreUnavailable(f"the store {self.name} sends from one server of its cluster to another")

    async def close(self) -> None:
        """Finish what was asked for, and disconnect; within five seconds, whatever the server does."""
        self._closed = True
        try:
            async with asyncio.timeout(CLOSING):
                await self._idle.wait()
        except TimeoutError:
            pass
        async with self._turning:
            if self._wire is not None:
                await self._wire.close()

    # -- a server that is fit

    def _now(self) -> float | str:
        return "" if self._clock is None else self._clock()

    async def _asked(self, wire: Wire, script: Script, *words: bytes | str | int | float) -> Any:
        reply = await wire.ask(b"EVALSHA", script.sha, 1, self._meta, *words)
        if isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT"):
            return await wire.ask(b"EVAL", script.source, 1, self._meta, *words)
        return reply

    async def _ready(self) -> Wire:
        """Return a connection to a server that was looked at just now; of those who ask at once, one does it for all."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._turning:
            if self._closed:
                raise StoreUnavailable(f"the store {self.name} is closed")
            if self._failure is not None and self._failed_at >= asked:  # while this one waited for its turn
                raise type(self._failure)(*self._failure.args)
            try:
                return await self._look_again()
            except StoreUnavailable as error:
                self._failure, self._failed_at = error, loop.time()
                raise

    async def _look_again(self) -> Wire:
        loop, wire = asyncio.get_running_loop(), self._wire
        if wire is not None and loop.time() - self._looked_at <= LOOKED_AT:
            return wire
        began = loop.time()
        try:
            async with asyncio.timeout(CONNECT):
                if wire is None:
                    wire = await self._connected()
                await self._look_at(wire)
        except TimeoutError:
            self._drop(wire, "it takes too long to connect")
            raise StoreUnavailable(f"the store {self.name} gave no answer within {CONNECT:g} s") from None
        except OSError as error:
            self._at = (self.address.host, self.address.port)
            raise StoreUnavailable(f"the store {self.name} cannot be reached: {error.strerror or error}") from None
        except StoreUnfit as error:
            self._drop(wire, error.found)
            raise
        except BaseException:
            self._drop(wire, "it was not used")
            raise
        if wire.ended.is_set():
            raise StoreUnavailable(f"the store {self.name} ended the connection")
        self._wire, self._looked_at = wire, began
        return wire

    def _drop(self, wire: Wire | None, why: str) -> None:
        if wire is not None:
            wire.abort(why)

    def _lost(self, wire: Wire) -> None:
        if self._wire is wire:
            self._wire = None

    async def _connected(self) -> Wire:
        loop, address = asyncio.get_running_loop(), self.address
        _, wire = await loop.create_connection(
            lambda: Wire(self.name, self._lost, self._answer), *self._at, ssl=address.tls_context()
        )
        try:
            if address.password is not None:
                user = () if address.user is None else (address.user,)
                self._granted(await wire.ask(b"AUTH", *user, address.password))
            if address.database:
                self._granted(await wire.ask(b"SELECT", address.database))
        except BaseException:
            wire.abort("it was not used")
            raise
        return wire

    async def _look_at(self, wire: Wire) -> None:
        """See whether the server is what is needed, and the store the one of before. Raises as `open` does."""
        facts = await self._facts(wire)
        away = cannot_serve(facts)
        if away is not None:
            raise StoreUnavailable(f"the store {self.name} {away}")
        problem = unfit(facts, self.needs, allow_loss=self.address.allow_loss)
        if problem is not None:
            raise StoreUnfit(self.name, problem)
        self._capabilities = keeps(facts)
        reply = await self._asked(wire, OPEN, secrets.token_hex(8), VERSION)
        if isinstance(reply, ReplyError) and moved_to(reply) is not None:
            return  # what is asked next is told so as well, and goes there
        birth, version = self._granted(reply)
        if int(version) > VERSION:
            raise StoreUnfit(self.name, "holds what a later release has kept there: use that one")
        if self._known.birth is None:
            self._known.birth = birth
        elif self._known.birth != birth:
            raise StoreUnavailable(
                f"the store {self.name} is another one than before: what it held is gone. Bring it back, or start again"
            )

    async def _facts(self, wire: Wire) -> ServerFacts:
        info, settings = await asyncio.gather(wire.ask(b"INFO"), wire.ask(b"CONFIG", b"GET", b"*append*"))
        told = None
        if not isinstance(settings, ReplyError):
            words = [word.decode(errors="replace") for word in settings]
            told = dict(zip(words[::2], words[1::2], strict=True))
        return facts_of(self._granted(info).decode(errors="replace"), told)

    def _granted(self, reply: Any) -> Any:
        if isinstance(reply, ReplyError):
            raise refused(self.name, reply)
        return reply
