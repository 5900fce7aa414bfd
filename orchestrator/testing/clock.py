"""Virtual time: an event loop whose clock stands still while anything happens, and jumps to the next timer when nothing does."""

from __future__ import annotations

import asyncio
import functools
import math
import selectors
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LIMIT: Final = 7_200.0
"""Virtual seconds after which whoever still waits for something waits in vain: twice as long as an answer may take."""
START: Final = 1_000.0
"""What a fresh clock shows; not zero, which programs take for no time at all."""
_TICKS: Final = 2.0**20
"""In a second, as a real clock has a resolution too. A power of two: of such times, sums with whole seconds are exact, so
that what is due by the clock is due as well by the Unix seconds that programs make of it, and nobody waits on the spot."""
_RESTING: Final = "nothing is left that could happen: everybody waits, no timer is set, and no thread is at work"


class FakeClock(asyncio.SelectorEventLoop):
    """An event loop that waits for nothing: `time()` moves only when nothing is left to do, and then at once as far as
    the next timer.

    - Code takes no time at all, however long it runs; `asyncio.sleep(60)` takes 60 virtual seconds and no real ones.
    - While a thread of `asyncio.to_thread` or of a plain `def` handler is at work, the time stands still: it does not
      pass anybody's deadline by. One that gives no sign for `patience` real seconds is passed over from then on, and so
      is one whose caller was cancelled.
    - A wait that nothing can end raises `RuntimeError`, after `patience` real seconds in which a thread might have.
    - Sockets, pipes and processes work, but nobody waits for them: whatever may happen inside happens first.
    """

    patience = 5.0
    """Real seconds."""

    def __init__(self) -> None:
        self._now = START
        self._outside: set[asyncio.Future[Any]] = set()
        """What threads are working on."""
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Return the virtual seconds, of which a fresh clock shows 1,000; it goes by microseconds."""
        return self._now

    @classmethod
    def run(cls, main: Coroutine[Any, Any, T], *, limit: float = LIMIT) -> T:
        """Run a coroutine in a loop of this kind, as `asyncio.run` does, and return what it returns.

        Raises `TimeoutError` after `limit` virtual seconds, and `RuntimeError` if something failed that nobody waited
        for, such as a callback.
        """
        unforeseen: list[dict[str, Any]] = []

        async def limited() -> T:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unforeseen.append(context))
            late = asyncio.timeout(limit)
            try:
                async with late:
                    return await main
            except TimeoutError:
                if late.expired():
                    raise TimeoutError(f"it has not come to its end within {limit:,g} virtual seconds") from None
                raise

        with asyncio.Runner(loop_factory=cls) as runner:
            result = runner.run(limited())
        if unforeseen:
            raise RuntimeError(unforeseen[0].get("message")) from unforeseen[0].get("exception")
        return result

    # -- threads

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._outside.add(future)
        future.add_done_callback(self._outside.discard)
        return future

    async def shutdown_default_executor(self, *timeout: float) -> None:
        joining: asyncio.Future[None] = self.create_future()
        self._outside.add(joining)
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._outside.discard(joining)

    # -- what the selector is told

    def jump(self, seconds: float) -> None:
        """Put the clock forward. For the selector, when nothing is left to do before the next timer."""
        self._now = math.ceil((self._now + seconds) * _TICKS) / _TICKS

    @property
    def waits_for_threads(self) -> bool:
        return bool(self._outside)

    def pass_over(self) -> None:
        """Wait no longer for the threads that are at work now."""
        self._outside.clear()


class _Jumping(selectors.PollSelector):
    """Never waits for a timer: the clock jumps instead."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._clock.waits_for_threads or timeout is None:
            ready = super().select(self._clock.patience)
            if ready:
                return ready
            if timeout is None and not self._clock.waits_for_threads:
                raise RuntimeError(_RESTING)
            self._clock.pass_over()
        if timeout is not None:
            self._clock.jump(timeout)
        return ready


def virtual(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a plain function of an async one, typically a test: it runs in a `FakeClock` of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return FakeClock.run(test(*args, **kwargs))

    return run
