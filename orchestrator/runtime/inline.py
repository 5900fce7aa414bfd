"""The children of a run as tasks of its own event loop: for debuggers, for tests, and where a process each is too much.

A child runs what its process would run, and speaks to its parent over the same kind of socket. What no process keeps
apart is kept apart by context: each task and thread that a child starts inherits whose it is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
import traceback
import weakref
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, copy_context
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.errors import ExitCode
from orchestrator.runtime.blockage import BlockageWatch
from orchestrator.runtime.control import ControlChannel, ToParent
from orchestrator.runtime.debugging import at_terminal
from orchestrator.runtime.nursery import Nursery
from orchestrator.runtime.parent import exit_anyway
from orchestrator.runtime.shared_environment import SharedEnvironment
from orchestrator.runtime.voices import Voice, told_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.runtime.nursery import Program
    from orchestrator.runtime.process import Hear
    from orchestrator.runtime.starting import Child

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds that the tasks of a child which ends have to end as well, before they are cancelled once more."""
LEAVING: Final = 3.0
"""Seconds that a run which has ended waits at most for threads in handlers that do not return."""
DEAFNESS: Final = 0.5
"""Seconds after which a second Ctrl-C breaks off whatever has kept the first from being heard."""


class InlineChild:
    """One child: a task, and all that it starts."""

    own_loop: Final = False

    def __init__(self, number: int, program: Program, hear: Hear, lent: Sequence[int]) -> None:
        self.pid: Final = os.getpid()
        self.number, self.program, self.hear, self.voice = number, program, hear, Voice(hear)
        self.lent = lent[0] if lent else -1
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.control: ControlChannel[ToParent]
        self.living: asyncio.Task[None]
        self._descriptors = tuple(lent)
        self._cut: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Set to its exit code by what ends it before its time."""
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        await self.control.close()

    def kill(self) -> None:
        self._end(-signal.SIGKILL)

    def abort(self) -> None:
        for task in list(self.tasks):
            stack = task.get_stack(limit=1)
            where = f" at {stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else ""
            self.voice.print("stderr", f"task {task.get_name()!r}{where}\n".encode("utf-8", "backslashreplace"))
        self._end(-signal.SIGABRT)

    def left(self, error: SystemExit) -> None:
        """Code of it has asked for the end of its process, which is the end of this child alone."""
        if isinstance(error.code, int) or error.code is None:
            self._end(error.code or 0)
        else:
            self.voice.print("stderr", f"{error.code}\n".encode("utf-8", "backslashreplace"))
            self._end(ExitCode.FAILED)

    def _end(self, code: int) -> None:
        if not self._cut.done():
            self._cut.set_result(code)

    async def live(self, serve: Callable[[socket.socket], Coroutine[Any, Any, int]], end: socket.socket) -> None:
        """Run it to its end, whichever that is."""
        code: int = -signal.SIGKILL
        try:
            context = copy_context()
            context.run(_CHILD.set, self)
            context.run(self.voice.speak)
            name = self.program.title or self.program.module
            code = await self._lived(asyncio.create_task(serve(end), name=name, context=context))
        finally:
            end.close()
            for descriptor in self._descriptors:
                os.close(descriptor)
            self.voice.close()
            self._ended.set_result(code)

    async def _lived(self, main: asyncio.Task[int]) -> int:
        try:
            await asyncio.wait([main, self._cut], return_when=asyncio.FIRST_COMPLETED)
            if not main.done():
                main.cancel()
                await asyncio.wait([main], timeout=PATIENCE)
        finally:
            await self._clear()
        if self._cut.done():
            return self._cut.result()
        if main.cancelled():
            return ExitCode.FAILED
        error = main.exception()
        if error is None:
            return main.result()
        told = "".join(traceback.format_exception(error))
        self.voice.print("stderr", told.encode("utf-8", "backslashreplace"))
        return ExitCode.FAILED

    async def _clear(self) -> None:
        """Cancel what it has left running. What will not end even so can only be left alone."""
        for _ in range(2):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=PATIENCE)
        names = ", ".join(sorted(task.get_name() for task in self.tasks if not task.done()))
        if names:
            self.voice.print("stderr", f"these tasks do not end, and are left alone: {names}\n".encode())


_CHILD: Final[ContextVar[InlineChild | None]] = ContextVar("child", default=None)


class InlineNursery:
    """Starts children in the event loop that runs now. While it is open, the process is theirs as well: what they print,
    log and find in the environment. A `Program` that is a process is started as one."""

    def __init__(
        self,
        environ: Mapping[str, str],
        hear: Hear,
        blocked: Callable[[Hear | None, float, str], None],
        *,
        level: str = "info",
        settle: Callable[[], object] = lambda: None,
    ) -> None:
        """`hear` takes what is printed and logged by nobody in particular. `blocked` is called in a thread when the loop
        stands still for longer than the child may block it whose `hear` it is given, with the seconds and the stack.

        `level` is that of the log; `settle` is called before a debugger opens, to show what was said until then.
        """
        self._environ, self._hear, self._blocked = environ, hear, blocked
        self._children: dict[int, InlineChild] = {}
        self._count = 0
        self._outside: Nursery | None = None
        self._environment = SharedEnvironment()
        self._watch = BlockageWatch(self._patience_of, self._report)
        self._opened = ExitStack()
        self._opened.callback(self._environment.restore)
        self._opened.enter_context(_tasks_told_apart(asyncio.get_running_loop()))
        self._opened.enter_context(at_terminal(settle))
        run = Voice(hear)
        run.speak()
        self._opened.enter_context(told_apart(run, level))
        self._opened.callback(self._watch.stop)

    async def start(
        self, program: Program, hear: Hear, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> Child:
        """Start a child; it finds duplicates of `descriptors` from its `lent` on. Raises `OSError`."""
        if program.process:
            if self._outside is None:
                self._outside = Nursery(self._environ, self._hear)
            return await self._outside.start(program, hear, environment, descriptors)
        serve = import_module(program.module).serve_inline
        self._count += 1
        child = InlineChild(self._count, program, hear, [os.dup(descriptor) for descriptor in descriptors])
        ours, theirs = socket.socketpair()
        child.control = await ControlChannel.of_parent(ours)
        self._environment.add(child.number, environment)
        self._children[child.number] = child
        self._watch.watch(program.patience)
        child.living = asyncio.create_task(child.live(serve, theirs), name=f"life of {program.title or program.module}")
        child.living.add_done_callback(lambda _: self._gone(child))
        return child

    async def close(self) -> None:
        """End all children that are left, wait for that, and give the process back."""
        try:
            children = list(self._children.values())
            for child in children:
                child.kill()
            await asyncio.gather(*(child.living for child in children))
            if self._outside is not None:
                await self._outside.close()
        finally:
            self._opened.close()

    def _gone(self, child: InlineChild) -> None:
        del self._children[child.number]
        self._environment.remove(child.number)

    # -- for the watch, which calls from its own thread

    def _patience_of(self, task: asyncio.Task[Any] | None) -> float | None:
        child = self._owner(task)
        if child is not None:
            return child.program.patience
        return min((found for child in self._living() if (found := child.program.patience) is not None), default=None)

    def _report(self, task: asyncio.Task[Any] | None, seconds: float, stack: str) -> None:
        child = self._owner(task)
        self._blocked(None if child is None else child.hear, seconds, stack)

    def _owner(self, task: asyncio.Task[Any] | None) -> InlineChild | None:
        return next((child for child in self._living() if task is not None and task in child.tasks), None)

    def _living(self) -> list[InlineChild]:
        return list(self._children.values())


# -- whose tasks are whose


class _Contained(Coroutine[Any, Any, T]):
    """What a task of a child does, except that it cannot end the process."""

    def __init__(self, child: InlineChild, inner: Any) -> None:
        self._child, self._inner = child, inner

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except SystemExit as error:
            return self._leave(error)

    def throw(self, *error: Any) -> Any:
        try:
            return self._inner.throw(*error)
        except SystemExit as asked:
            return self._leave(asked)

    def _leave(self, error: SystemExit) -> Any:
        """End the child, and meanwhile go nowhere: no code of it sees how this ends."""
        self._child.left(error)
        self._inner = _nowhere()
        return self._inner.send(None)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def _nowhere() -> None:
    await asyncio.get_running_loop().create_future()


@contextmanager
def _tasks_told_apart(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """While entered, each child knows its tasks, and none of these can end the process."""
    before = loop.get_task_factory()

    def make(loop: asyncio.AbstractEventLoop, work: Any, **settings: Any) -> asyncio.Task[Any]:
        context = settings.get("context")
        child = _CHILD.get() if context is None else context.get(_CHILD)
        if child is None:
            return asyncio.Task(work, loop=loop, **settings)
        task: asyncio.Task[Any] = asyncio.Task(_Contained(child, work), loop=loop, **settings)
        child.tasks.add(task)
        return task

    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(before)


# -- the end of a run


@contextmanager
def insistent() -> Iterator[None]:
    """While entered, a second SIGINT breaks off a handler that blocks the loop so that it could not hear the first.

    To be entered when the loop has handlers for its signals, which are called as ever.
    """
    loop = asyncio.get_running_loop()
    unheard: list[float] = []

    def signalled(_number: int, _frame: object) -> None:
        if unheard and time.monotonic() - unheard[0] > DEAFNESS:
            raise KeyboardInterrupt
        if not unheard:
            unheard.append(time.monotonic())
            loop.call_soon_threadsafe(unheard.clear)

    before = signal.signal(signal.SIGINT, signalled)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def seen_off(work: Coroutine[Any, Any, int]) -> int:
    """Await a run, and have the process end when it has, whatever handlers have left in threads and tasks."""
    code: int = ExitCode.INTERRUPTED
    try:
        code = await work
    finally:
        exit_anyway(code, LEAVING)
    return code
