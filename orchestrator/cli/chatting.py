"""A chat: one thread reads what is typed, and another one has the connection."""

from __future__ import annotations

import json
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Self, cast

from orchestrator.cli.chat_screen import Waker
from orchestrator.cli.entering import check_agent, entered, traced
from orchestrator.cli.live_screen import Terminated
from orchestrator.cli.present import Present, channels_of, ordered, watching
from orchestrator.cli.tasks_text import plain
from orchestrator.cli.who import began, change_line, table
from orchestrator.errors import ExitCode, NotAuthorized, NoWorkerAvailable, OrchestratorError, did_you_mean

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from orchestrator.cli.chat_screen import Surface
    from orchestrator.cli.entering import Way
    from orchestrator.runtime.user import User

_HELP: Final = (
    "what you type is a question to the agent of the prompt",
    "/who          who is there",
    "/agent NAME   go on with another agent",
    "/cancel       end the answer that comes; ctrl-c does the same",
    "/help         this",
    "/quit         leave; ctrl-d does the same",
)
TYPED: Final = ("/who", "/agent", "/cancel", "/help", "/quit")


class Chat:
    """Entered, it is connected. Everything here is called by one thread, but what is said to be the connection's."""

    def __init__(self, found: Way, agent: str, surface: Surface) -> None:
        import asyncio

        self._found, self._agent, self._surface = found, agent, surface
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="connection", daemon=True)
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._user: User
        self._present = Present()
        self._failure: BaseException | None = None
        self._code: int = ExitCode.DONE

    def __enter__(self) -> Self:
        """Raises what keeps us out."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def run(self) -> int:
        """Talk until there is nothing more to read; return the exit code of the first question that failed.

        Raises `KeyboardInterrupt` where nobody types, and `Terminated`.
        """
        self._agent = self._agent or next(iter(self._user.agents), "")
        if self._agent:
            check_agent(self._agent, self._user)
        self._surface.note(f"talking with {plain(self._agent) or 'nobody yet: /agent NAME'}; /help says more")
        while self._failure is None:
            try:
                line = self._surface.read(f"{plain(self._agent)}> ")
            except KeyboardInterrupt as interrupt:
                if self._ends_the_talk(interrupt):
                    raise
                self._surface.note("ctrl-d leaves")
                continue
            if line is None or line.strip() == "/quit":
                break
            if line.startswith("/"):
                self._command(line.strip())
            elif line.strip():
                self._ask(line)
        if isinstance(self._failure, OrchestratorError):
            raise self._failure
        return self._code

    # -- what is typed

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        match name:
            case "/who":
                for row in self._who():
                    self._surface.note(row)
            case "/agent":
                self._go_on_with(rest.strip())
            case "/cancel":
                self._surface.note("no answer is coming")
            case "/help":
                for row in _HELP:
                    self._surface.note(row)
            case _:
                self._surface.note(f"there is no {plain(name)}{did_you_mean(name, TYPED)}; /help shows what there is")

    def _who(self) -> list[str]:
        peers = ordered([*self._present.peers.values()])
        return table(peers, self._present.lobbies, began(self._found), time.time()) if peers else ["nobody is there"]

    def _go_on_with(self, name: str) -> None:
        try:
            if not name:
                raise OrchestratorError(f"there are {', '.join(self._user.agents)}")
            check_agent(name, self._user)
        except OrchestratorError as error:
            self._surface.note(plain(str(error)))
        else:
            self._agent = name

    def _ask(self, text: str) -> None:
        ended = Waker()
        asking = _Asking(self._loop, self._answer(text), ended)

        def heard(line: str) -> None:
            if line == "/cancel":
                asking.cancel()
            elif line == "/who":
                self._command(line)
            else:
                self._surface.note(f"{plain(line)} has to wait until the answer has ended")

        over: KeyboardInterrupt | None = None
        try:
            while not asking.done:
                try:
                    self._surface.attend(ended, heard)
                except KeyboardInterrupt as interrupt:
                    asking.cancel()
                    over = interrupt if self._ends_the_talk(interrupt) else over
            self._settle(asking)
        finally:
            ended.close()
        if over is not None:
            raise over

    def _ends_the_talk(self, interrupt: KeyboardInterrupt) -> bool:
        return isinstance(interrupt, Terminated) or not self._surface.typed

    def _settle(self, asking: _Asking) -> None:
        """Say how an answer ended that did not reach its end."""

        import asyncio

        try:
            asking.result()
        except asyncio.CancelledError:
            self._surface.note("cancelled")
        except NoWorkerAvailable:
            self._fail(f"nobody of {self._agent!r} is online", ExitCode.PEER_NOT_FOUND)
        except (OrchestratorError, ValueError) as error:
            self._fail(str(error), error.exit_code if isinstance(error, OrchestratorError) else ExitCode.FAILED)

    def _fail(self, sentence: str, code: int) -> None:
        self._code = self._code or code
        self._surface.note(f"! {plain(sentence)}")

    # -- the connection

    def _live(self) -> None:
        import asyncio

        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._connected())
        except BaseException as error:  # noqa: BLE001 - it is raised by the thread that waits
            self._failure = error
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
            self._ready.set()

    async def _connected(self) -> None:
        import asyncio

        self._stop = asyncio.Event()

        def say(sentence: str) -> None:
            self._surface.note(f"! {sentence}")

        async with traced(self._found, say), entered(self._found, say) as user:
            self._user = user
            following = asyncio.create_task(self._follow(user), name="presence")
            try:
                await self._stop.wait()
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _follow(self, user: User) -> None:
        """Tell who comes and goes; where the token does not let us see that, nothing is told."""
        try:
            async with watching(user, channels_of(self._found, ())) as watch:
                self._present = watch.present
                self._ready.set()
                async for news in watch.news():
                    self._surface.note(change_line(news))
        except NotAuthorized:
            self._ready.set()
        except OrchestratorError as error:
            self._failure = error
            self._surface.note(f"! {plain(str(error))}; this is the end of the talk")
            self._ready.set()

    async def _answer(self, text: str) -> None:
        import asyncio

        last = "\n"
        async with aclosing(cast("Any", self._user.stream(self._agent, text))) as chunks:
            async for chunk in chunks:
                said = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False) + "\n"
                await asyncio.to_thread(self._surface.answer, said)
                last = said or last
        if not last.endswith("\n"):
            await asyncio.to_thread(self._surface.answer, "\n")


class _Asking:
    """A question that is under way in the loop of another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], ended: Waker) -> None:
        self._loop, self._work, self._ended = loop, work, ended
        self._task: asyncio.Task[None] | None = None
        loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._task = self._loop.create_task(self._work, name="question")
        self._task.add_done_callback(lambda _: self._ended.wake())

    @property
    def done(self) -> bool:
        return self._task is not None and self._task.done()

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    def result(self) -> None:
        """To be called when it is done. Raises what it ended with."""
        assert self._task is not None, "it has begun before it is done"
        self._task.result()
