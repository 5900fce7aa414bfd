"""The process that stands for a program, and how programs are seen to be ready."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import secrets
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExitCode, TerminalDisconnect
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS, MAX_CHANNELS
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.runtime.asking import Question
from orchestrator.runtime.command_host import (
    CLIENTS_LEAD,
    LEAST_PAUSE,
    CommandHost,
    expiry,
    renewal_in,
    replace_file,
    verdict,
    why_not_started,
)
from orchestrator.runtime.console import render_json
from orchestrator.runtime.control import (
    ControlChannel,
    Drain,
    Ending,
    Ready,
    Spec,
    ToChild,
    TokenGranted,
    TokenWanted,
    ToParent,
)
from orchestrator.runtime.output import Output
from orchestrator.runtime.presence_watch import Awaited, PresenceWatch, claimed
from orchestrator.runtime.runner import Options, run
from orchestrator.topology.part import presence_channel
from orchestrator.topology.replica import Replica
from tests.client.test_with_hub import KEY, Hubs
from tests.client.test_with_hub import running as running_hubs
from tests.runtime.plans import planned
from tests.runtime.processes import ENVIRONMENT
from tests.runtime.users import user

WORKER = """\
version: 1
coordinators:
  boss: {handler: "app:Boss", workers: [shouter]}
workers:
  shouter: {command: [program], handles: [Shout]}
agents:
  lone: {command: [program]}
  guest: {command: [program]}
  inside: {handler: "app:Inside"}
presence:
  hall: {members: [guest, inside]}
"""


def token(life: float = 600.0) -> str:
    return mint(KEY, Claims("shouter", exp=int(time.time() + life)))


def place(name: str) -> Replica:
    [replica] = planned(WORKER).replicas_of(name)
    return replica


class TestDecisions:
    @pytest.mark.parametrize(
        ("life", "pause"), [(900.0, 0.6 * (900.0 - CLIENTS_LEAD)), (1.0, LEAST_PAUSE), (-5.0, LEAST_PAUSE)]
    )
    def test_a_token_is_replaced_before_a_client_reads_it_for_its_renewal(self, life: float, pause: float) -> None:
        assert renewal_in(life) == pytest.approx(pause)

    def test_the_end_of_a_token_is_read_without_its_key(self) -> None:
        said = mint(SecretKey("sk_id_other", secrets.token_hex(32)), Claims("shouter", exp=1_900_000_000))
        assert expiry(said) == 1_900_000_000

    @given(st.text(max_size=60) | st.from_regex(r"[\w-]{0,9}\.[\w-]{0,30}\.[\w-]{0,9}", fullmatch=True))
    def test_what_is_no_token_is_refused_without_being_repeated(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^what the parent granted is no token$"):
            expiry(text)

    @pytest.mark.parametrize(
        ("returncode", "asked", "code"),
        [
            (0, False, 0),
            (0, True, 0),
            (7, False, 7),
            (7, True, 7),
            (-signal.SIGTERM, True, 0),
            (128 + signal.SIGTERM, True, 0),
            (-signal.SIGTERM, False, 143),
            (-signal.SIGKILL, True, 137),
        ],
    )
    def test_the_end_of_a_program_becomes_an_exit_code(self, returncode: int, asked: bool, code: int) -> None:
        assert verdict(returncode, asked=asked)[0] == code

    def test_the_code_that_forbids_another_start_says_so(self) -> None:
        assert verdict(3, asked=False) == (3, "the program ended with exit 3, which says that another start is no use")

    @pytest.mark.parametrize(
        ("name", "number", "sentence"),
        [
            ("nodee", errno.ENOENT, "there is no program 'nodee' in PATH"),
            ("./go", errno.ENOENT, "there is no program './go' beside the topology"),
            (
                "./script",
                errno.ENOENT,
                "the program './script' cannot be run: the interpreter that its first line names",
            ),
            ("./script", errno.EACCES, "the program './script' cannot be run: it is not marked as executable"),
            ("./script", errno.ENOEXEC, "the program './script' cannot be run: exec format error"),
        ],
    )
    def test_why_a_program_cannot_be_started(self, tmp_path: Path, name: str, number: int, sentence: str) -> None:
        (tmp_path / "script").touch()
        error = OSError(number, os.strerror(number))
        assert why_not_started([name], str(tmp_path), error).startswith(sentence)

    def test_a_file_is_replaced_whole_and_is_its_owners_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        replace_file(file, "first")
        before = file.stat().st_ino
        with file.open(encoding="ascii") as reader:
            replace_file(file, "second")
            assert reader.read() == "first"
        assert file.read_text(encoding="ascii") == "second"
        assert file.stat().st_ino != before
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [file]

    @pytest.mark.parametrize(
        ("name", "channel"),
        [("shouter", "tasks/shouter"), ("guest", "lobbies/hall"), ("lone", None), ("boss", None)],
    )
    def test_where_a_program_is_seen(self, name: str, channel: str | None) -> None:
        assert presence_channel(place(name)) == channel


# -- the process that stands for a program


@dataclass
class Parent:
    """The other end of the control socket of a host that runs in this process."""

    channel: ControlChannel[ToParent]
    child: ControlChannel[ToChild]
    host: CommandHost
    spec: Spec
    log: list[dict[str, Any]]

    async def until(self, kind: type[Any]) -> Any:
        async for message in self.channel:
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} came")

    async def rest(self) -> list[ToParent]:
        """End the conversation, and return what was said and not yet read."""
        await self.child.close()
        return [message async for message in self.channel]

    async def grant(self, granted: str) -> None:
        wanted = await self.until(TokenWanted)
        self.channel.send(TokenGranted(wanted.request, granted))

    @property
    def token_file(self) -> Path:
        return Path(self.spec.private, "token")


@asynccontextmanager
async def hosting(directory: Path, *command: str, name: str = "lone", patience: float = 5.0) -> AsyncIterator[Parent]:
    ours, theirs = socket.socketpair()
    private = directory / "private"
    private.mkdir()
    spec = Spec(replace(place(name), command=command), "ws://localhost:1", str(directory), "i", private=str(private))
    child, parent = await ControlChannel.of_child(theirs), await ControlChannel.of_parent(ours)
    with structlog.testing.capture_logs() as log:
        host = CommandHost(child, spec, structlog.get_logger(), patience=patience)
        try:
            async with asyncio.timeout(20):
                yield Parent(parent, child, host, spec, log)  # type: ignore[arg-type]
        finally:
            await child.close()
            await parent.close()


async def test_a_program_is_started_when_its_token_is_there_and_its_code_is_passed_on(tmp_path: Path) -> None:
    script = (
        f"import os, shutil; shutil.copy(os.environ['ORCHESTRATOR_TOKEN_FILE'], '{tmp_path}/seen'); raise SystemExit(7)"
    )
    async with hosting(tmp_path, sys.executable, "-c", script) as parent:
        running = asyncio.create_task(parent.host.run())
        granted = token()
        await parent.grant(granted)
        assert await running == 7
    assert (tmp_path / "seen").read_text(encoding="ascii") == granted


async def test_a_relative_program_runs_in_the_directory_of_the_topology_with_an_empty_stdin(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\npwd > where\ncat > read\n", encoding="utf-8")
    program.chmod(0o700)
    async with hosting(tmp_path, "./program") as parent:
        running = asyncio.create_task(parent.host.run())
        await parent.grant(token())
        assert await running == 0
    assert (tmp_path / "where").read_text(encoding="utf-8").strip() == str(tmp_path)
    assert (tmp_path / "read").read_bytes() == b""


async def test_words_of_a_command_reach_no_shell(tmp_path: Path) -> None:
    script = "import sys, pathlib; pathlib.Path('words').write_text('|'.join(sys.argv[1:]))"
    async with hosting(tmp_path, sys.executable, "-c", script, "$HOME; *", "a b") as parent:
        running = asyncio.create_task(parent.host.run())
        await parent.grant(token())
        assert await running == 0
    assert (tmp_path / "words").read_text(encoding="utf-8") == "$HOME; *|a b"


async def test_one_that_can_be_seen_nowhere_is_ready_when_it_runs(tmp_path: Path) -> None:
    async with hosting(tmp_path, "sleep", "600") as parent:
        running = asyncio.create_task(parent.host.run())
        await parent.grant(token())
        await parent.until(Ready)
        parent.host.drain(5.0)
        assert await running == 0


async def test_one_that_is_to_be_seen_on_its_channel_does_not_say_so_itself(tmp_path: Path) -> None:
    async with hosting(tmp_path, "true", name="shouter") as parent:
        running = asyncio.create_task(parent.host.run())
        await parent.grant(token())
        assert await running == 0
        assert await parent.rest() == []


async def test_a_wish_to_end_that_comes_before_the_token_starts_nothing(tmp_path: Path) -> None:
    async with hosting(tmp_path, "touch", "started") as parent:
        parent.channel.send(Drain(1.0))
        assert await parent.host.run() == 0
    assert not (tmp_path / "started").exists()


async def test_a_command_that_is_no_program_is_invalid_and_says_why(tmp_path: Path) -> None:
    async with hosting(tmp_path, "./nothing") as parent:
        running = asyncio.create_task(parent.host.run())
        await parent.grant(token())
        assert await running == ExitCode.INVALID
        assert (await parent.until(Ending)).sentence == "there is no program './nothing' beside the topology"


async def test_a_token_that_is_not_granted_is_asked_for_again(tmp_path: Path) -> None:
    async with hosting(tmp_path, "true", patience=0.05) as parent:
        running = asyncio.create_task(parent.host.run())
        first = await parent.until(TokenWanted)
        second = await parent.until(TokenWanted)
        parent.channel.send(TokenGranted(first.request, "too late"))
        parent.channel.send(TokenGranted(second.request, token()))
        assert await running == 0
        said = [record for record in parent.log if record["log_level"] == "warning"]
        assert [record["reason"] for record in said] == ["none came within 0.05 s"]


async def test_a_token_is_replaced_before_it_ends(tmp_path: Path) -> None:
    async with hosting(tmp_path, "sleep", "600") as parent:
        running = asyncio.create_task(parent.host.run())
        await parent.grant(token(1.0))
        await parent.until(Ready)
        await parent.grant(fresh := token(1.0))
        await parent.until(TokenWanted)  # the one before is in its file
        assert parent.token_file.read_text(encoding="ascii") == fresh
        parent.host.drain(5.0)
        assert await running == 0


# -- who is seen at the hub


PEERS = {f"p{number}": f"tasks/p{number % 7}" for number in range(10)}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([*PEERS, "stranger"]))))
def test_a_channel_is_watched_exactly_while_somebody_is_awaited_on_it(steps: list[tuple[bool, str]]) -> None:
    awaited, model = Awaited(PEERS), set[str]()
    for adds, peer in steps:
        if adds:
            assert awaited.add(peer) is (peer in PEERS)
            model |= {peer} & set(PEERS)
        else:
            assert awaited.discard(peer) is (peer in model)
            model -= {peer}
        assert set(awaited.channels) == {PEERS[peer] for peer in model}
        for channel in PEERS.values():
            assert awaited.on(channel) == {peer for peer in model if PEERS[peer] == channel}


def test_no_more_channels_are_watched_than_a_connection_may_hold() -> None:
    peers = {f"p{number}": f"tasks/p{number}" for number in range(MAX_CHANNELS + 1)}
    awaited = Awaited(peers)
    for peer in peers:
        awaited.add(peer)
    assert awaited.channels == tuple(peers.values())[:MAX_CHANNELS]
    awaited.discard("p0")
    assert awaited.channels[-1] == f"tasks/p{MAX_CHANNELS}"


def test_a_watch_is_granted_the_channels_that_it_needs_as_far_as_a_token_can_name_them() -> None:
    names = [f"tasks/p{number}" for number in range(MAX_CHANNEL_CLAIMS)]
    assert claimed([*names, names[0]]) == tuple(names)
    assert claimed([*names, "one/more"]) == ("**",)


@pytest.fixture
async def hubs() -> AsyncIterator[Hubs]:
    async with running_hubs() as hubs:
        yield hubs


@asynccontextmanager
async def watching(hubs: Hubs, channels: dict[str, str]) -> AsyncIterator[tuple[PresenceWatch, asyncio.Queue[str]]]:
    seen: asyncio.Queue[str] = asyncio.Queue()
    watch = PresenceWatch(hubs.url, KEY, channels, seen.put_nowait)
    task = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(10):
            yield watch, seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_whoever_is_there_already_and_whoever_comes_is_seen_once(hubs: Hubs) -> None:
    channels = {"a": "tasks/a", "b": "tasks/b"}
    async with user(hubs, "a") as a, a.subscribe("tasks/a"), watching(hubs, channels) as (watch, seen):
        watch.expect("a")
        watch.expect("b")
        assert await seen.get() == "a"
        async with user(hubs, "b") as b, b.subscribe("tasks/b"):
            assert await seen.get() == "b"
        watch.expect("b")
        async with user(hubs, "b") as b, b.subscribe("tasks/b"):
            assert await seen.get() == "b"
        assert seen.empty()


async def test_nobody_sees_the_watch_and_it_leaves_when_it_has_seen_enough(hubs: Hubs) -> None:
    """As long as it watches, it is one of the receivers of what is published."""
    async with user(hubs, "a") as a, watching(hubs, {"a": "tasks/a", "x": "tasks/a"}) as (watch, seen):
        watch.expect("a")
        async with a.subscribe("tasks/a"):
            assert await seen.get() == "a"
        async with user(hubs, "other") as other, other.presence("tasks/a") as roster:
            assert len(roster) == 0
            while await a.publish("tasks/a", "anybody?") != 1:  # the other one alone
                pass


async def test_a_watch_outlives_its_hub(hubs: Hubs) -> None:
    async with watching(hubs, {"a": "tasks/a"}) as (watch, seen):
        watch.expect("a")
        async with user(hubs, "somebody") as somebody:
            while not await somebody.publish("tasks/a", "who watches?"):
                pass
        await hubs.stop()
        await hubs.start()
        async with user(hubs, "a") as a, a.subscribe("tasks/a"):
            assert await seen.get() == "a"


async def test_a_watch_that_is_refused_for_good_says_why(hubs: Hubs) -> None:
    stranger = SecretKey("sk_id_unknown", secrets.token_hex(32))
    with pytest.raises(TerminalDisconnect):
        await PresenceWatch(hubs.url, stranger, {"a": "tasks/a"}, lambda _: None).run()


async def test_when_nothing_can_be_seen_a_question_ends_instead_of_hanging(hubs: Hubs) -> None:
    text = f"version: 1\nhub: {{url: '{hubs.url}', key: '${{KEY}}'}}\nworkers:\n  far: {{external: true, handles: [Shout]}}\n"
    plan = planned(text, {"KEY": f"sk_id_unknown:sk_secret_{secrets.token_hex(32)}"})
    log = io.StringIO()
    output = Output(render_json, "info", log=log, answers=io.StringIO())
    try:
        async with asyncio.timeout(10):
            code = await run(plan, output, Options(), ENVIRONMENT, [Question("far", "hello")])
    finally:
        output.close()
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert any(event.startswith("it cannot be seen any more which programs are at the hub: ") for event in events)
    assert "nothing was asked, because 1 replica will never be ready" in events
    assert code == ExitCode.FAILED
