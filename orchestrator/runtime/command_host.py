"""The main of the process that stands for a program in any language: ``python -m orchestrator.runtime.command_host FD``.

It starts the `command` of one replica, keeps a token that is good for a while in a file, passes on the wish to end, and
ends as the program ends. FD is the child's end of the private socket pair to its parent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator.errors import ExitCode
from orchestrator.protocol.tokens import read_claims
from orchestrator.runtime.control import ControlChannel, Drain, Ending, Ready, Spec, ToChild, TokenGranted, TokenWanted
from orchestrator.runtime.logs import configure_child
from orchestrator.runtime.parent import kill_own_group, watch_parent
from orchestrator.runtime.supervisor import signal_name
from orchestrator.topology.part import presence_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOKEN_FILE: Final = "token"
RENEWAL_SHARE: Final = 0.6
"""Of a token's life, after which its file holds another one: clients read it again at four fifths."""
CLIENTS_LEAD: Final = 1.25
"""Seconds that clients take off a token's life before they reckon with it: rounded times, and the hub's own lead."""
LEAST_PAUSE: Final = 0.25
"""Seconds between two tokens, however short they live."""
ANSWER_SECONDS: Final = 5.0
"""Seconds that the parent has to grant a token."""
FIRST_RETRY, LAST_RETRY = 0.5, 30.0
"""Seconds before a token is asked for again, doubled each time up to the last."""
ORPHAN_SECONDS: Final = 0.4
"""Seconds that the program of a parent that is gone has to end; a little later the whole group is killed."""
NO_PROGRAM: Final = frozenset(
    {errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
)
"""What is wrong with a command that another start would not put right."""


class CommandHost:
    """One program, from its replica's spec to an exit code."""

    def __init__(
        self, channel: ControlChannel[ToChild], spec: Spec, log: Any, *, patience: float = ANSWER_SECONDS
    ) -> None:
        """`patience` is how many seconds the parent has to grant a token."""
        loop = asyncio.get_running_loop()
        self._channel, self._spec, self._log, self._patience = channel, spec, log, patience
        self._tokens: dict[int, asyncio.Future[str]] = {}
        self._requests = 0
        self._written = asyncio.Event()
        self._draining: asyncio.Future[float] = loop.create_future()
        self._orphaned: asyncio.Future[None] = loop.create_future()
        self._began = time.monotonic()

    def drain(self, seconds: float) -> None:
        """Ask for a good end; only the first call counts."""
        if not self._draining.done():
            self._draining.set_result(seconds)

    def orphan(self) -> None:
        """Ask for a quick end, because nobody is left to wait for a good one."""
        self.drain(ORPHAN_SECONDS)
        if not self._orphaned.done():
            self._orphaned.set_result(None)

    @property
    def orphaned(self) -> bool:
        return self._orphaned.done()

    async def run(self) -> int:
        """Run the program to its end, with a good token in its file all the while."""
        serving = [
            asyncio.create_task(self._listen(), name="control"),
            asyncio.create_task(self._keep_token(), name="token"),
        ]
        first = asyncio.create_task(self._written.wait(), name="first token")
        try:
            await _first(first, self._draining)
            return ExitCode.DONE if self._draining.done() else await self._run_program()
        finally:
            for task in (first, *serving):
                task.cancel()
            await asyncio.gather(first, *serving, return_exceptions=True)

    async def _run_program(self) -> int:
        command, directory = self._spec.replica.command, self._spec.directory
        try:
            program = await asyncio.create_subprocess_exec(
                *command, cwd=directory, env={**os.environ, **self._handed()}, stdin=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            self._end(why_not_started(command, directory, error))
            return ExitCode.INVALID if error.errno in NO_PROGRAM else ExitCode.FAILED
        self._log.debug("the program has started", pid=program.pid, program=command[0])
        if presence_channel(self._spec.replica) is None:
            self._channel.send(Ready(time.monotonic() - self._began))
        ended = asyncio.create_task(program.wait(), name="program")
        await _first(ended, self._draining)
        if not ended.done():
            await self._stop(program, ended)
        code, sentence = verdict(await ended, asked=self._draining.done())
        if sentence:
            self._end(sentence)
        return code

    async def _stop(self, program: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        """Have the program end: by SIGTERM, and by SIGKILL when it has had its time."""
        grace = self._draining.result()
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            program.terminate()
        await _first(ended, self._orphaned, seconds=grace)
        if not ended.done() and self.orphaned:
            await _first(ended, seconds=ORPHAN_SECONDS)
        if not ended.done():
            self._log.warning("the program did not end by SIGTERM, and is killed", pid=program.pid)
            with contextlib.suppress(ProcessLookupError):
                program.kill()

    def _handed(self) -> dict[str, str]:
        """Return what the program finds in its environment beside what the topology says."""
        return {
            "ORCHESTRATOR_URL": self._spec.hub_url,
            "ORCHESTRATOR_PEER_ID": self._spec.replica.peer_id,
            "ORCHESTRATOR_TOKEN_FILE": str(self._token_file),
            **({"ORCHESTRATOR_HUB_CERTIFICATE": self._spec.trusted} if self._spec.trusted else {}),
        }

    def _end(self, sentence: str) -> None:
        self._channel.send(Ending(sentence))

    # -- its token

    @property
    def _token_file(self) -> Path:
        return Path(self._spec.private, TOKEN_FILE)

    async def _keep_token(self) -> None:
        retry = FIRST_RETRY
        while True:
            try:
                token = await self._fresh_token()
                replace_file(self._token_file, token)
            except (TimeoutError, OSError, ValueError) as error:
                why = f"none came within {self._patience:g} s" if isinstance(error, TimeoutError) else str(error)
                self._log.warning("the program has no fresh token", reason=why, retry_in=retry)
                await asyncio.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)
                continue
            retry = FIRST_RETRY
            self._log.debug("a fresh token is in its file")
            self._written.set()
            await asyncio.sleep(renewal_in(expiry(token) - time.time()))

    async def _fresh_token(self) -> str:
        """Ask the parent. Raises `TimeoutError`."""
        self._requests += 1
        request = self._requests
        future = self._tokens[request] = asyncio.get_running_loop().create_future()
        self._channel.send(TokenWanted(request))
        try:
            async with asyncio.timeout(self._patience):
                token: str = await future
                return token
        finally:
            del self._tokens[request]

    async def _listen(self) -> None:
        async for message in self._channel:
            if isinstance(message, TokenGranted):
                future = self._tokens.get(message.request)
                if future is not None and not future.done():
                    future.set_result(message.token)
            elif isinstance(message, Drain):
                self.drain(message.grace)


async def _first(*futures: asyncio.Future[Any], seconds: float | None = None) -> None:
    """Return when one of `futures` is done, or `seconds` are over."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def renewal_in(life: float) -> float:
    """Return after how many seconds a token that lives for `life` seconds is replaced."""
    return max(RENEWAL_SHARE * (life - CLIENTS_LEAD), LEAST_PAUSE)


def expiry(token: str) -> int:
    """Return when a token of ours ends, in Unix seconds. Raises `ValueError` for what is no token."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return read_claims(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))).exp
    except (TypeError, ValueError, AttributeError):
        raise ValueError("what the parent granted is no token") from None


def replace_file(file: Path, text: str) -> None:
    """Write a file that its owner alone can read; a reader finds the old text or the new one, whole. Raises `OSError`."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as written:
        written.write(text)
    fresh.replace(file)


def verdict(returncode: int, *, asked: bool) -> tuple[int, str]:
    """Return the exit code that a program's end comes to, and a sentence where the code alone does not say it.

    `asked`: it was told to end, and then to die of that SIGTERM is as good as an exit with 0.
    """
    if asked and returncode in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return ExitCode.DONE, ""
    if returncode < 0:
        return 128 - returncode, f"the program was killed by {signal_name(-returncode)}"
    if returncode == ExitCode.INVALID:
        return returncode, f"the program ended with exit {returncode}, which says that another start is no use"
    return returncode, ""


def why_not_started(command: Sequence[str], directory: str, error: OSError) -> str:
    """Return the sentence about a command that is no program, or cannot be run now."""
    name = command[0]
    place = "beside the topology" if "/" in name else "in PATH"
    if error.errno == errno.ENOENT:
        if "/" in name and Path(directory, name).exists():
            return f"the program {name!r} cannot be run: the interpreter that its first line names is not there"
        return f"there is no program {name!r} {place}"
    if error.errno == errno.EACCES:
        return f"the program {name!r} cannot be run: it is not marked as executable, or a directory is closed to us"
    return f"the program {name!r} cannot be run: {(error.strerror or str(error)).lower()}"


async def serve(end: socket.socket) -> int:
    """Stand for one replica over the control socket `end`."""
    channel = await ControlChannel.of_child(end)
    spec = await anext(aiter(channel), None)
    if not isinstance(spec, Spec):
        return ExitCode.FAILED
    configure_child({"agent": spec.replica.agent, "peer": spec.replica.peer_id}, spec.log_level)
    try:
        Path(spec.private).mkdir(mode=0o700)  # noqa: ASYNC240 - before anything else goes on
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        channel.send(Ending(f"there is no place for the program's token: {spec.private}: {reason}"))
        await channel.close()
        return ExitCode.FAILED
    host = CommandHost(channel, spec, structlog.get_logger())
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, host.drain, spec.grace)
    watch_parent(end, lambda: _quietly(loop, host.orphan))
    try:
        code = await host.run()
    finally:
        shutil.rmtree(spec.private, ignore_errors=True)  # the parent does that too, unless it is gone
        await channel.close()
    if host.orphaned:
        kill_own_group()  # what the program has left behind
    return code


def _quietly(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
        loop.call_soon_threadsafe(act)


def main() -> int:
    end = socket.socket(fileno=int(sys.argv[1]))
    return asyncio.run(serve(end))


if __name__ == "__main__":
    sys.exit(main())
