"""A hub's end of an engine for as long as the hub runs: whenever its connection is lost, it is made again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from orchestrator.hub.backplane import BackplaneProblem
from orchestrator.hub.line import Line
from orchestrator.hub.origins import STAMP, Origins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from orchestrator.hub.backplane import Listener, Topic
    from orchestrator.hub.engine_url import EngineUrl

_log: Final = logging.getLogger("orchestrator.hub")
_ATTEMPT: Final = 3.0
"""Seconds that one server has to greet us."""
_FAREWELL: Final = 1.0
"""Seconds that what waits has to be written when it is left."""

Interest = TypeVar("Interest")


def _pauses() -> Iterator[float]:
    """Yield seconds to wait before each attempt, so that hubs do not return together."""
    pause = 0.1
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, 2.0)


class LastingEnd(ABC, Generic[Interest]):
    """What both engines have in common; an `Interest` is what one of them subscribes to.

    Answers of an engine come in the order of what was asked, so nothing but that order ties them together.
    """

    def __init__(self, url: EngineUrl, listener: Listener, patience: float, room: int) -> None:
        self._url = url
        self._listener = listener
        self._patience = patience
        self._room = room
        self._origins = Origins()
        self._stamp = b""
        self._interests: dict[Interest, int] = {}
        """How many topics each stands for: two patterns may be the same to an engine."""
        self._changed = False
        """Something was listened to after it was last asked whether all is in force."""
        self._line: Line | None = None
        self._known = False
        """The server has let us in, and what is subscribed to from now on is said at once."""
        self._up = False
        self._waiting: asyncio.Future[None] | None = None
        self._away = asyncio.Event()
        self._returning: asyncio.Task[None] | None = None
        self._largest = 0
        self._refusal = ""
        """Why the engine has closed the connection, if it said so."""

    # -- what an engine has to say for itself

    @abstractmethod
    def _servers(self) -> Iterable[tuple[str, int]]:
        """Return where to try, in order."""

    @abstractmethod
    async def _greet(self, host: str, port: int) -> None:
        """Connect `_line`, and be known to the server. Raises `OSError` with a sentence, or `BackplaneProblem` when the
        server will have none of us.
        """

    @abstractmethod
    def _subscribe(self, interests: Iterable[Interest]) -> None: ...

    @abstractmethod
    def _unsubscribe(self, interest: Interest) -> None: ...

    @abstractmethod
    def _interest(self, topic: Topic) -> Interest: ...

    @abstractmethod
    def _ping(self, answered: Callable[[], None]) -> None:
        """Have `answered` called when the server has done everything before."""

    @abstractmethod
    def _forget(self) -> None:
        """Expect no answer any more."""

    # -- coming and going

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        why = "it does not answer"
        for pause in _pauses():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._connect()
                break
            except TimeoutError:  # the deadline; why it was not reached before says more
                pass
            except OSError as error:
                why = _sentence(error)
            if loop.time() + pause >= deadline:
                where = self._url.shown
                raise BackplaneProblem(f"the backplane {where} could not be used for {self._patience:g} s: {why}")
            await asyncio.sleep(pause)
        self._returning = asyncio.create_task(self._return(), name="backplane")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait([self._returning])
            if not self._returning.cancelled():
                self._returning.result()
        if self._up:
            self._ping(self._answered)
            with contextlib.suppress(OSError):
                async with asyncio.timeout(_FAREWELL):
                    await self._answer()
        self._up = False
        await self._hang_up(gently=True)

    @property
    def up(self) -> bool:
        return self._up

    @property
    def largest(self) -> int:
        return self._largest - STAMP

    async def _return(self) -> None:
        while True:
            await self._away.wait()
            self._away.clear()
            await self._hang_up()
            said = ""
            for pause in _pauses():
                await asyncio.sleep(pause)
                try:
                    await self._connect()
                    break
                except (OSError, BackplaneProblem) as error:
                    why = str(error) if isinstance(error, BackplaneProblem) else _sentence(error)
                    if why != said:
                        said = why
                        _log.warning("the backplane %s cannot be used yet: %s", self._url.shown, why)

    async def _connect(self) -> None:
        """Be up, on whichever server is the first to take us."""
        problem = OSError("there is no server")
        for host, port in self._servers():
            try:
                await self._connect_to(host, port)
                return
            except ssl.SSLCertVerificationError as error:
                raise BackplaneProblem(
                    f"the backplane {self._url.shown} has no certificate that is trusted here: {error.verify_message}"
                ) from None
            except (OSError, UnicodeError) as error:
                problem = OSError(f"{host}:{port}: {_sentence(error)}")
            except BackplaneProblem:
                raise
            except Exception as error:  # noqa: BLE001  # whatever a stranger says there, it is no reason to stay away
                problem = OSError(f"{host}:{port}: it does not speak as it should ({type(error).__name__})")
            finally:
                if not self._up:
                    await self._hang_up()
        raise problem

    async def _connect_to(self, host: str, port: int) -> None:
        self._refusal = ""
        async with asyncio.timeout(_ATTEMPT):
            await self._greet(host, port)
        self._stamp = self._origins.stamp()
        self._known = True
        self._subscribe(self._interests)
        self._changed = False
        self._ping(self._check)
        await self._answer()

    def _check(self) -> None:
        if self._changed:
            self._changed = False
            self._ping(self._check)
            return
        self._up = True
        self._answered()
        if self._returning is not None:
            self._listener.turned(True, "")

    async def _answer(self) -> None:
        """Wait until somebody says that what is waited for is there. Raises `ConnectionError` when the line is lost."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _answered(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _new_line(self, take: Callable[[bytes], None]) -> Line:
        self._line = Line(take, self._lost, self._ask_for_a_sign, self._room)
        return self._line

    def _ask_for_a_sign(self) -> None:
        if self._up:
            self._ping(_nothing)

    def _refused(self, why: str) -> None:
        """Be told by the server that it will have none of us."""
        self._refusal = why
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(BackplaneProblem(f"the backplane {self._url.shown} refuses this hub: {why}"))
        if self._line is not None:
            self._line.fail(why)

    def _lost(self, why: str) -> None:
        why = self._refusal or why
        self._known = False
        self._forget()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError(why))
        if self._up:
            self._up = False
            self._away.set()
            self._listener.turned(False, f"the backplane {self._url.shown} is away: {why}")

    async def _hang_up(self, *, gently: bool = False) -> None:
        line, self._line = self._line, None
        self._known = False
        self._forget()
        if line is not None:
            if not gently:
                line.abort()
            await line.close()

    # -- topics

    def listen(self, topic: Topic) -> None:
        interest = self._interest(topic)
        count = self._interests.get(interest, 0)
        self._interests[interest] = count + 1
        if not count and self._known:
            self._changed = True
            self._subscribe((interest,))

    def ignore(self, topic: Topic) -> None:
        interest = self._interest(topic)
        count = self._interests[interest] - 1
        if count:
            self._interests[interest] = count
        else:
            del self._interests[interest]
            if self._known:
                self._unsubscribe(interest)

    def barrier(self, ticket: int) -> None:
        if self._up:
            passed = self._listener.passed
            self._ping(lambda: passed(ticket))


def _nothing() -> None:
    pass


def _sentence(error: OSError | UnicodeError) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
