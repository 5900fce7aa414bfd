"""ORC102, ORC103 and ORC107, and tasks that no worker takes: what is read from the source of handlers."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.topology.handlers import HandledTask, HandlerFault, HandlerReport
from orchestrator.topology.lint_dispatch import unhandled_sends
from orchestrator.topology.source_code import SourceFile, read_module
from tests.topology.files import read
from tests.topology.linting import ONE, THREE, findings, in_code, linted, places, sources

ROOT = Path(__file__).parents[2]

SENDING = """\
from orchestrator import agent, connect
from orchestrator.errors import PeerNotFound
import contextlib

@agent
class Handler:
    async def tell(self, user, words, peers, queue):
{body}
"""


def sending(*lines: str) -> str:
    return SENDING.format(body="\n".join(f"        {line}" for line in lines))


@pytest.mark.parametrize(
    "line",
    [
        "await user.send('boss', {'a': 1})",
        "await self.user.send(peer='boss', data={'a': 1})",
        "await user.send('boss', data={'a': 1}, deadline=3.0)",
        "user.send('boss', {'a': 1})",
    ],
)
def test_102_a_send_whose_fate_nobody_asks_for(line: str) -> None:
    assert in_code(sending(line)) == [("ORC102", 8)]


def test_102_says_where_and_what_to_do() -> None:
    assert findings(ONE, {"app": sending("await user.send('boss', {'a': 1})")}) == [
        (
            "app.py:8:15: Handler.tell: whether this message arrived is asked by nobody; catch PeerNotFound, or hand out a "
            "task [ORC102]"
        )
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ("done = await user.send('boss', {})",),
        ("return await user.send('boss', {})",),
        ("try:", "    await user.send('boss', {})", "except PeerNotFound:", "    pass"),
        ("try:", "    await user.send('boss', {})", "except (ValueError, errors.ConnectionProblem):", "    pass"),
        ("try:", "    await user.send('boss', {})", "except:", "    raise"),
        ("with contextlib.suppress(PeerNotFound):", "    await user.send('boss', {})"),
        ("words.send('value')",),
        ("await words.send('value')",),
        ("await words.send(b'..', socket.MSG_DONTWAIT)",),
        ("await words.send(b'..', 0)",),
        ("await words.send(b'..', zmq.NOBLOCK | zmq.SNDMORE)",),
        ("await client.send(request, stream=True)",),
        ("await send({'type': 'http'}, 1)",),
        ("await user.send(*words)",),
    ],
)
def test_102_asked_for_or_no_send_at_all(lines: tuple[str, ...]) -> None:
    assert in_code(sending(*lines)) == []


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (("try:", "    pass", "except PeerNotFound:", "    await user.send('boss', {})"), 11),
        (("try:", "    await user.send('boss', {})", "except ValueError:", "    pass"), 9),
        (
            ("try:", "    async def later():", "        await user.send('boss', {})", "except Exception:", "    pass"),
            10,
        ),
    ],
)
def test_102_caught_elsewhere(lines: tuple[str, ...], line: int) -> None:
    assert in_code(sending(*lines)) == [("ORC102", line)]


def test_102_without_await_counts_only_beside_a_connection() -> None:
    """In a module that opens none, such a call is one of another library."""
    body = sending("count.send('boss', 3)").replace(", connect", "")
    assert in_code(body) == []


def guarded(*lines: str) -> str:
    return sending("try:", *(f"    {line}" for line in lines), "except Exception:", "    pass")


@pytest.mark.parametrize(
    "lines",
    [
        ("for word in words:", "    await user.send('boss', {'word': word})"),
        ("async for word in words:", "    await user.send(self.boss, word)"),
        ("while word := queue.get():", "    await user.send('boss', word)"),
        ("while True:", "    word = await queue.get()", "    await user.send('boss', word)"),
    ],
)
def test_103_a_stream_made_by_hand(lines: tuple[str, ...]) -> None:
    assert in_code(guarded(*lines)) == [("ORC103", 8 + len(lines))]


def test_103_for_each_peer_a_stream() -> None:
    lines = ("for peer in peers:", "    for word in words:", "        await user.send(peer, word)")
    assert in_code(guarded(*lines)) == [("ORC103", 11)]


@pytest.mark.parametrize(
    "lines",
    [
        ("for peer in peers:", "    await user.send(peer, {'a': 1})"),
        ("for peer, word in peers.items():", "    await user.send(peer, word)"),
        ("async for message in words:", "    await user.send(message.sender, {'echo': message.data})"),
        ("for attempt in range(3):", "    await user.send('boss', {'a': 1})"),
        ("for word in words:", "    pass", "else:", "    await user.send('boss', words)"),
        ("for word in words:", "    async def one(it):", "        return await user.send('boss', it)"),
    ],
)
def test_103_loops_that_are_no_stream(lines: tuple[str, ...]) -> None:
    assert in_code(guarded(*lines)) == []


# -- ORC107

TEAM = """\
import orchestrator
from orchestrator import Event, Task, StreamTask, Team, Workers, agent, on_event
from pathlib import Path
from billing import charge
import asyncio, os
import httpx as web

class Job(Task[str]):
    prompt: str

class Nearer(Job):
    pass

class Done(Event):
    name: str

def save(event):
    open(event.name, "w").write("x")

@agent
class Handler:
    desk: Team
    workers: Workers
    seen: set

    @on_event
    async def heard(self, event: Done, ctx):
{body}

    async def own(self, event):
        await self.desk.publish(Done(name="a"))
"""


def team(*lines: str) -> str:
    return TEAM.format(body="\n".join(f"        {line}" for line in lines))


HEARD = 27
"""The line of the method that hears the event."""


@pytest.mark.parametrize(
    "lines",
    [
        ("await self.desk.publish(Job(prompt='x'))",),
        ("await self.desk.publish(Nearer(prompt='x'))",),
        ("await ctx.team('desk').publish(Job.model_validate({}))",),
        ("job = Job(prompt='x')", "await self.desk.publish(job)"),
        ("desk = self.desk", "await desk.publish(Job(prompt='x'))"),
    ],
)
def test_107_a_task_told_to_a_team(lines: tuple[str, ...]) -> None:
    assert in_code(team(*lines), ONE) == [("ORC107", HEARD + len(lines))]


@pytest.mark.parametrize(
    "lines",
    [
        ("await self.desk.publish(Done(name='x'))",),
        ("await self.bus.publish(Job(prompt='x'))",),
        ("await self.user.publish('desk', Job(prompt='x'))",),
        ("await self.workers.run(Job(prompt='x'))",),
        ("job = Job(prompt='x')", "job = Done(name='x')", "await self.desk.publish(job)"),
    ],
)
def test_107_an_event_told_to_a_team_and_a_task_told_elsewhere(lines: tuple[str, ...]) -> None:
    assert in_code(team(*lines), ONE) == []


@pytest.mark.parametrize(
    "imports",
    [
        "from messages import Job",
        "from messages import *",
        "from shared import Job",
        "import messages",
        "from pack import messages",
    ],
)
def test_107_a_task_is_found_where_it_is_defined(imports: str) -> None:
    name = "messages.Job" if imports.endswith("messages") else "Job"
    body = (
        f"{imports}\nfrom orchestrator import Team, agent\n@agent\nclass Handler:\n    desk: Team\n"
        f"    async def tell(self):\n        await self.desk.publish({name}(prompt='x'))\n"
    )
    messages = "from orchestrator import Task\nclass Job(Task[str]):\n    prompt: str\n"
    modules = {
        "app": body,
        "messages": messages,
        "shared": "from messages import Job\n",
        "pack/": "",
        "pack.messages": "from .jobs import *\n",
        "pack.jobs": messages,
    }
    assert [code for code, _ in places(ONE, modules)] == ["ORC107"]


def test_modules_that_import_each_other_end() -> None:
    body = (
        "from other import Job\nfrom orchestrator import Team\nclass Handler:\n    desk: Team\n"
        "    async def tell(self):\n        await self.desk.publish(Job())\n"
    )
    assert places(ONE, {"app": body, "other": "from app import Job\n"}) == []


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (("await self.desk.publish(Done(name='x'))",), "publishes"),
        (("await self.workers.run(Job(prompt='x'))",), "hands out a task"),
        (("await self.user.send('boss', {}, deadline=1)",), "sends a message"),
        (("Path(event.name).write_text('x')",), "calls write_text"),
        (("os.remove(event.name)",), "calls os.remove"),
        (("web.post('https://example.org')",), "calls web.post"),
        (("self.db.execute('DELETE FROM jobs')",), "calls self.db.execute"),
        (("self.db.execute(f'insert into jobs values ({event.name!r})')",), "calls self.db.execute"),
        (("await self.db.execute(text('UPDATE jobs SET a = 1'))",), "calls self.db.execute"),
        (("await self.db.execute(insert(jobs).values(a=1))",), "calls self.db.execute"),
        (("await charge(event)",), "awaits charge for nothing but its effect"),
        (("save(event)",), "writes a file"),
        (("await asyncio.to_thread(save, event)",), "writes a file"),
        (("await self.own(event)",), "publishes"),
        (("async with self.desk.claim('a') as claim:", "    pass", "await self.own(event)"), "publishes"),
    ],
)
def test_107_what_every_replica_would_do(lines: tuple[str, ...], what: str) -> None:
    found = [problem for problem in linted(THREE, {"app": team(*lines)}).warnings if problem.code == "ORC107"]
    assert [(problem.line, problem.column, problem.path) for problem in found] == [(HEARD, 5, "Handler.heard")]
    assert f"every replica of 'one' hears this event and {what} (line " in found[0].sentence


@pytest.mark.parametrize(
    "lines",
    [
        ("self.seen.add(event.name)",),
        ("self.latest = event", "ctx.log.info('heard')"),
        ("self.desk.state['a'] = event.name",),
        ("await self.queue.put(event)",),
        ("await asyncio.sleep(1)",),
        ("rows = await charge(event)",),
        ("self.db.execute('SELECT 1')",),
        ("await self.db.execute(select(jobs).where(jobs.c.a == 1))",),
        ("await self.db.execute(text('SELECT 1'))",),
        ("self.pool.execute(event, 3)",),
        ("self.pool.execute()",),
        ("open(event.name).read()",),
        ("async with self.desk.claim(event.name) as claim:", "    await charge(event)", "    save(event)"),
        ("async with self.desk.claim(event.name) as claim:", "    if claim:", "        await self.own(event)"),
    ],
)
def test_107_what_a_replica_keeps_to_itself_or_claims(lines: tuple[str, ...]) -> None:
    assert in_code(team(*lines), THREE) == []


def test_107_one_copy_may_do_what_it_likes() -> None:
    assert in_code(team("await charge(event)"), ONE) == []


def test_107_the_functions_of_a_module_are_an_agent_too() -> None:
    body = (
        "from orchestrator import on_event\nfrom b import c\n@on_event\nasync def heard(event):\n    await c(event)\n"
    )
    assert in_code(body, THREE.replace("app:Handler", "app")) == [("ORC107", 4)]


def test_functions_that_call_each_other_end() -> None:
    assert in_code(team("await self.heard(event, ctx)"), THREE) == []


@pytest.mark.parametrize("source", ["def broken(:\n", "x = '\\d'\n", "\x00", ""])
def test_what_is_no_python_is_passed_over(source: str) -> None:
    assert in_code(source) == []


def test_a_module_without_source_is_passed_over() -> None:
    assert places(ONE, {}) == []


# -- tasks that nobody takes

DISPATCH = """\
version: 1
coordinators:
  boss: {handler: 'app:Boss', workers: [helper, script]}
workers:
  helper: {handler: 'app:Helper'}
  script: {command: [node, a.js], handles: [Render]}
"""
BOSS = """\
from orchestrator import Task, Workers, agent

class Add(Task[int]): ...
class Render(Task[int]): ...
class Mul(Task[int]): ...

LATER = [Mul()]

def jobs():
    return [%s()]

def unused():
    return Mul()

@agent
class Boss:
    workers: Workers
    async def run(self):
        return [await self.workers.run(job) for job in jobs()]

@agent
class Other:
    async def run(self):
        return Mul()

@agent
class Helper: ...
"""
HELPER = {"app:Helper": HandlerReport("app:Helper", tasks=(HandledTask("Add", "task", "add", "int"),))}


@pytest.mark.parametrize("name", ["Add", "Render", "list"])
def test_a_task_that_a_worker_takes_can_be_handed_out(name: str) -> None:
    assert unhandled_sends(read(DISPATCH), HELPER, sources({"app": BOSS % name})) == []


def test_a_task_that_no_worker_takes_is_told_at_the_workers() -> None:
    [problem] = unhandled_sends(read(DISPATCH), HELPER, sources({"app": BOSS % "Mul"}))
    assert str(problem) == (
        "topology.yaml:3:31: coordinators.boss.workers: Mul can be handed out (app.py, line 10), and none of the workers "
        "handles it: 'helper' and 'script'"
    )


def test_of_workers_that_are_not_known_nothing_is_said() -> None:
    reports = {"app:Helper": HandlerFault("app:Helper", "it raised")}
    assert unhandled_sends(read(DISPATCH), reports, sources({"app": BOSS % "Mul"})) == []


@pytest.mark.parametrize("path", sorted((ROOT / "orchestrator").rglob("*.py"))[::3], ids=lambda path: path.stem)
def test_any_source_can_be_read(path: Path) -> None:
    assert read_module("any", SourceFile(path.name, path.read_text(encoding="utf-8"))) is not None
