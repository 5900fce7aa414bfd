"""`orchestrator run --inline`: hub, store and handlers in one process, which is to behave as if each had its own."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.journeys.running import ROOT, Record, Running, descendants, running, who

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

pytestmark = pytest.mark.journey

HANDLERS = """
import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator

import structlog

from orchestrator import Context, StreamTask, Task, Workers, agent, task


class Do(StreamTask[str]):
    prompt: str


class Think(Task[str]):
    text: str


class Leave(Task[str]):
    pass


@agent
class Desk:
    workers: Workers

    @task
    async def do(self, ask: Do, ctx: Context) -> AsyncIterator[str]:
        print("asked:", ask.prompt)
        if ask.prompt == "stream":
            yield "the beginning, "
            await asyncio.sleep(0.5)
            yield "and the end"
        elif ask.prompt == "never":
            yield "the beginning"
            await asyncio.Event().wait()
        elif ask.prompt == "block":
            await asyncio.sleep(0)
            time.sleep(3.0)
            yield "done"
        elif ask.prompt == "stuck":
            while True:
                time.sleep(0.05)
        elif ask.prompt == "leave":
            yield await self.workers.run(Leave())
        elif ask.prompt == "stop here":
            answer = 6 * 7
            breakpoint()
            yield f"it was {answer}"
        else:
            for text in ask.prompt.split():
                yield await self.workers.run(Think(text=text)) + " "


@agent
class Thinker:
    @task(idempotent=True)
    def think(self, task: Think, ctx: Context) -> str:
        print("thinking of", task.text)
        threading.Thread(target=print, args=("from nowhere",)).start()
        logging.getLogger("thinker").warning("logging of %s", task.text)
        structlog.get_logger().info("structlog", of=task.text)
        return os.environ.get(task.text, task.text.upper())

    @task(idempotent=True)
    async def leave(self, task: Leave, ctx: Context) -> str:
        if os.path.exists("left"):
            return "left and came back"

        async def leave() -> None:
            open("left", "w").close()
            sys.exit(7)

        await asyncio.create_task(leave())
        return "never left"
"""
TOPOLOGY = """
version: 1
name: inline
hub: {key: "${HUB_KEY}"}
coordinators:
  desk: {handler: "inline_handlers:Desk", workers: [thinker], watchdog: 2s}
workers:
  thinker: {handler: "inline_handlers:Thinker", environment: {MOOD: calm}, restart: {delay: 100ms}}
"""
SECRET = "sk_id_inline:sk_secret_" + "i" * 43
ENVIRON = {"HUB_KEY": SECRET}


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    (tmp_path / "inline_handlers.py").write_text(HANDLERS, encoding="utf-8")
    path = tmp_path / "inline.yaml"
    path.write_text(TOPOLOGY, encoding="utf-8")
    return path


def inline(
    topology: Path, *arguments: str, environ: dict[str, str] | None = None
) -> AbstractAsyncContextManager[Running]:
    return running(
        str(topology), "--inline", *arguments, directory=topology.parent, environ={**ENVIRON, **(environ or {})}
    )


def rewrite(topology: Path, text: str) -> None:
    topology.write_text(text, encoding="utf-8")


def said(event: str, by: str | None = None) -> Callable[[Record], bool]:
    return lambda record: event in record["event"] and by in (None, who(record))


async def test_the_tour_in_one_process_is_the_tour() -> None:
    async with running("examples.yaml", "--inline", "--ask", "lead", "asyncio") as run:
        await run.ready()
        assert descendants(run.pid) == []
        assert await run.ended(60) == 0, run.said()
    assert set(run.pids().values()) == {run.pid}
    assert Counter(who(record) for record in run.with_event("ready")) == Counter(
        ["hub", "lead", "reviewer.1", "reviewer.2", "reviewer.3", "narrator", "checker.1", "checker.2", "concierge"]
    )
    assert {who(record) for record in run.with_event("reviewed")} == {"reviewer.1", "reviewer.2", "reviewer.3"}
    assert set(Counter(record["file"] for record in run.with_event("claim won")).values()) == {1}
    assert re.search(r"\d+ files reviewed", run.answer)
    assert run.records[-1]["event"].endswith("all ended cleanly")


async def test_what_is_printed_and_logged_is_in_the_log_under_the_right_name(topology: Path) -> None:
    async with inline(topology, "--ask", "desk", "this") as run:
        assert await run.ended() == 0, run.said()
    assert run.answer.strip() == "THIS"
    named = {record["event"]: (who(record), record["level"]) for record in run.records}
    assert named["asked: this"] == ("desk", "info")
    assert named["thinking of this"] == ("thinker", "info")
    assert named["logging of this"] == ("thinker", "warning")
    assert named["structlog"] == ("thinker", "info")
    assert named["from nowhere"] == ("run", "info")


@pytest.mark.bars
async def test_handlers_find_their_environment_and_no_key_also_when_the_files_are_read_again(topology: Path) -> None:
    async with inline(topology, "--ask", "desk", "MOOD HUB_KEY MODEL", environ={"MODEL": "big"}) as run:
        assert await run.ended() == 0, run.said()
    assert run.answer.split() == ["calm", "HUB_KEY", "big"]
    async with inline(topology) as run:
        await run.ready()
        run.process.send_signal(signal.SIGHUP)
        await run.until(said("applied: nothing has changed"))


async def test_what_two_agents_want_differently_is_refused(topology: Path) -> None:
    rewrite(topology, TOPOLOGY.replace("watchdog: 2s", "environment: {MOOD: wild}"))
    async with inline(topology) as run:
        assert await run.ended() == 3
    assert "workers.thinker.environment.MOOD: 'desk' sets this to another value" in run.said()


async def test_one_that_leaves_is_started_again_and_the_others_go_on(topology: Path) -> None:
    async with inline(topology, "--ask", "desk", "leave") as run:
        assert await run.ended() == 0, run.said()
    assert run.answer.strip() == "left and came back"
    [again] = [record for record in run.records if "it is started again" in record["event"]]
    assert who(again) == "thinker"
    assert "exit 7" in again["event"]
    assert Counter(who(record) for record in run.with_event("ready")) == Counter(hub=1, desk=1, thinker=2)


async def test_a_stream_is_read_to_its_end_after_one_ctrl_c(topology: Path) -> None:
    async with inline(topology, "--ask", "desk", "stream") as run:
        await run.until(said("asked: stream", "desk"))
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == 0, run.said()
    assert run.answer.strip() == "the beginning, and the end"


@pytest.mark.bars
async def test_a_second_ctrl_c_kills(topology: Path) -> None:
    async with inline(topology, "--ask", "desk", "never") as run:
        await run.until(said("asked: never"))
        run.process.send_signal(signal.SIGINT)
        await run.until(said("ending in peace"))
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == 130, run.said()
    assert "desk" in {who(record) for record in run.records if "is killed" in record["event"]}


@pytest.mark.bars
async def test_a_blocked_loop_is_reported_once_with_the_place_and_goes_on(topology: Path) -> None:
    async with inline(topology, "--ask", "desk", "block") as run:
        assert await run.ended() == 0, run.said()
    assert run.answer.strip() == "done"
    [report] = [record for record in run.records if "has been blocked" in record["event"]]
    assert who(report) == "desk"
    assert "time.sleep(3.0)" in report["exception"]
    assert len(run.with_event("ready")) == 3


@pytest.mark.bars
async def test_ctrl_c_gets_through_to_a_loop_that_is_blocked_for_ever(topology: Path) -> None:
    async with inline(topology, "--ask", "desk", "stuck") as run:
        await run.until(said("asked: stuck"))
        run.process.send_signal(signal.SIGINT)
        await run.until(said("has been blocked", "desk"))  # so that one was not heard
        run.process.send_signal(signal.SIGINT)
        broken = await run.until(said("handler failed", "desk"))
        assert "time.sleep(0.05)" in broken["exception"]
        assert await run.ended() == 130


@pytest.mark.bars
async def test_changed_code_is_taken_up(topology: Path) -> None:
    async with inline(topology) as run:
        await run.ready()
        number = len(run.records)
        (topology.parent / "inline_handlers.py").write_text(HANDLERS + "\n\nprint('the second edition')\n")
        run.process.send_signal(signal.SIGHUP)
        await run.until(said("applied: restarts"), after=number)
    assert [who(record) for record in run.with_event("the second edition")] == ["desk"]  # whoever came first


@pytest.mark.bars
async def test_commands_reach_it(topology: Path) -> None:
    rewrite(topology, TOPOLOGY.replace("environment:", "replicas: 1, environment:"))
    async with inline(topology) as run:
        await run.ready()
        assert "thinker.2" in await command("scale", topology, "thinker=2")
        shown = await command("ps", topology)
        assert re.findall(r"^\w+ +(\S+) +ready +(\d+)", shown, re.MULTILINE) == [
            (peer, str(run.pid)) for peer in ("desk", "thinker.1", "thinker.2")
        ]
        assert "restarted desk" in await command("restart", topology, "desk")
        assert "restarted (hub)" in await command("restart", topology, "(hub)")
        assert "ready" in await command("logs", topology, "desk")
        await command("stop", topology)
        assert await run.ended() == 0


async def command(verb: str, topology: Path, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orchestrator",
        verb,
        str(topology),
        *words,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.bars
async def test_what_is_a_command_stays_a_process(topology: Path) -> None:
    program = '\nagents:\n  other: {command: [sh, -c, "echo from outside; exec sleep 60"]}\n'
    rewrite(topology, TOPOLOGY + program)
    async with inline(topology) as run:
        await run.ready()
        record = await run.until(said("from outside"))
        assert who(record) == "other"
        assert run.pids()["other"] != run.pid
        assert run.pids()["desk"] == run.pid
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == 0, run.said()


class Terminal:
    """A run on a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process, self.text = process, ""
        self._master, self._more = master, asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self._master, 65_536).decode(errors="replace")
        except OSError:  # nobody has the other end open any more
            asyncio.get_running_loop().remove_reader(self._master)
        self._more.set()

    async def until(self, text: str, after: int = 0) -> int:
        """Wait until this is shown, and return where it ends."""
        async with asyncio.timeout(30):
            while text not in self.text[after:]:
                self._more.clear()
                await self._more.wait()
        return self.text.index(text, after) + len(text)

    def type(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)


async def test_a_breakpoint_opens_a_debugger_on_the_terminal(topology: Path) -> None:
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "run", str(topology), "--inline", "--ask", "desk", "stop here"),
        cwd=topology.parent,
        env={**os.environ, **ENVIRON, "PYTHONPATH": str(ROOT), "TERM": "dumb", "NO_COLOR": "1"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    terminal = Terminal(process, master)
    try:
        at = await terminal.until("(Pdb)")
        assert "asked: stop here" in terminal.text  # what was printed before is shown before
        terminal.type("p answer")
        at = await terminal.until("\n42", at)
        at = await terminal.until("(Pdb)", at)
        terminal.type("answer = 43")
        at = await terminal.until("(Pdb)", at)
        terminal.type("c")
        await terminal.until("it was 4", at)
        await terminal.until("all ended cleanly", at)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        terminal.close()
