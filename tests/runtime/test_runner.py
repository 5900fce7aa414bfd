"""Whole runs, of stand-ins for hub and agents that speak the control protocol and misbehave on request."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from orchestrator.errors import ExitCode
from orchestrator.protocol.tokens import verify
from orchestrator.runtime.asking import Question, TakesNoQuestions, UnknownAgent, questions
from orchestrator.runtime.console import render_json
from orchestrator.runtime.listening import CannotListen, listen
from orchestrator.runtime.lives import Programs
from orchestrator.runtime.output import Output
from orchestrator.runtime.planned_children import children_of
from orchestrator.runtime.runner import Options, fresh_key, run
from orchestrator.topology.handlers import HandledTask, HandlerReport
from tests.runtime.plans import SMALL, planned
from tests.runtime.processes import ENVIRONMENT, runs

if TYPE_CHECKING:
    from collections.abc import Callable

from orchestrator.topology.plan import Plan

STAND_INS = Programs(
    agent="tests.runtime.children.agent",
    hub="tests.runtime.children.hub",
    store="tests.runtime.children.store",
    fork=False,
)


class Log(io.StringIO):
    """A JSON log that calls `react` with each record, in the event loop."""

    def __init__(self, react: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._loop, self._react = asyncio.get_running_loop(), react
        self.records: list[dict[str, Any]] = []

    def write(self, text: str) -> int:
        record = json.loads(text)
        self.records.append(record)
        self._loop.call_soon_threadsafe(self._react, record)
        return len(text)


@dataclass
class Run:
    code: int
    records: list[dict[str, Any]]

    def events(self, who: str = "run") -> list[str]:
        return [record["event"] for record in self.records if who in (record.get("peer"), record.get("process"))]

    @property
    def pids(self) -> list[int]:
        return [record["pid"] for record in self.records if "pid" in record]


def interrupt(_record: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def when_ready(act: Callable[[dict[str, Any]], None] = interrupt) -> Callable[[dict[str, Any]], None]:
    """Act once everything is as ready as it will be."""
    return lambda record: act(record) if " ready in " in record["event"] or " are ready" in record["event"] else None


async def ran(
    plan: Plan,
    react: Callable[[dict[str, Any]], None] | None = None,
    environ: dict[str, str] | None = None,
    *,
    asked: tuple[Question, ...] = (),
    **options: Any,
) -> Run:
    log = Log(react or when_ready())
    output = Output(render_json, "debug", log=log, answers=io.StringIO())
    try:
        async with asyncio.timeout(30):
            code = await run(
                plan, output, Options(programs=STAND_INS, **options), {**ENVIRONMENT, **(environ or {})}, asked
            )
    finally:
        output.close()
    result = Run(code, log.records)
    assert not any(map(runs, result.pids))
    return result


def odd(behaviour: str, more: str = "") -> Plan:
    """A plan in which one agent misbehaves."""
    return planned(f'{SMALL}agents:\n  odd: {{handler: "app:Odd", environment: {{BEHAVE: {behaviour}}}{more}}}\n')


def recorded(folder: Path) -> dict[str, list[str]]:
    """Return the hub's URL, the token, the instance and, if it needs one, the store that each replica was given."""
    return {path.name.rpartition("-")[0]: path.read_text(encoding="utf-8").split() for path in folder.iterdir()}


async def test_everything_gets_ready_is_drained_after_one_signal_and_ends_with_zero() -> None:
    result = await ran(planned())
    assert result.code == ExitCode.DONE
    assert {record["peer"] for record in result.records if "peer" in record} == {"boss", "helper.1", "helper.2"}
    first, where, asked, last = result.events()
    assert first.startswith("3 replicas ready in ")
    assert first.partition(" · ")[2].startswith("hub ws://localhost:")
    assert where == f"dashboard {first.partition(' · hub ')[2].replace('ws:', 'http:')}/"
    assert asked == "SIGINT: ending in peace"
    assert last.startswith("ran 3 replicas for ")
    assert last.endswith(" · 6 tasks done · all ended cleanly")


async def test_each_replica_has_a_process_an_instance_and_a_token_of_its_own(tmp_path: Path) -> None:
    plan = planned()
    result = await ran(plan, environ={"RECORDS": str(tmp_path)})
    records = recorded(tmp_path)
    assert set(records) == {replica.peer_id for replica in plan.replicas}
    assert len(set(result.pids)) == len(plan.replicas) + 1
    assert len({instance for _, _, instance in records.values()}) == len(plan.replicas)
    for replica in plan.replicas:
        url, token, instance = records[replica.peer_id]
        assert url.startswith("ws://127.0.0.1:")
        said = jwt.decode(token, options={"verify_signature": False})
        assert said == replica.claims(exp=said["exp"], instance=instance).to_payload()


async def test_a_remote_hub_is_not_started_and_its_key_signs_the_tokens(tmp_path: Path) -> None:
    key = fresh_key()
    text = f"{SMALL}hub: {{url: 'ws://localhost:1', key: '${{HUB_KEY}}'}}"
    environ = {"HUB_KEY": f"{key.id}:{key.secret}"}
    plan = planned(text, environ)
    result = await ran(plan, environ={"RECORDS": str(tmp_path), **environ})
    assert result.events("hub") == []
    for peer_id, (url, token, _) in recorded(tmp_path).items():
        assert url == "ws://localhost:1"
        assert verify(token, {key.id: key}, time.time())[1].sub == peer_id
    assert key.secret not in json.dumps(result.records)


async def test_a_killed_replica_is_started_again(tmp_path: Path) -> None:
    result = await ran(odd("crash-once"), environ={"MARKER": str(tmp_path / "marker")})
    assert result.code == ExitCode.DONE
    first, ready = result.events("odd")
    assert first.startswith("killed by SIGKILL: it is started again in 0.")
    assert ready == "ready"
    assert " · 1 restart · " in result.events()[-1]


async def test_a_killed_hub_is_started_again_on_its_port() -> None:
    killed: list[int] = []

    def react(record: dict[str, Any]) -> None:
        if record.get("process") == "hub" and record["event"] == "ready":
            if killed:
                interrupt(record)
            else:
                killed.append(record["pid"])
                os.kill(record["pid"], signal.SIGKILL)

    result = await ran(planned(), react)
    ready = [record for record in result.records if record.get("process") == "hub" and record["event"] == "ready"]
    assert next(record["pid"] for record in ready) == killed[0]
    assert len({record["pid"] for record in ready}) == 2
    assert len({record["url"] for record in ready}) == 1
    assert result.code == ExitCode.DONE


STORED = SMALL + "store: sqlite:///desk.db\nteams:\n  desk: {members: [helper]}\n"


async def test_a_store_is_started_where_somebody_needs_it() -> None:
    unneeded = await ran(planned(SMALL + "store: sqlite:///desk.db\n"))
    assert unneeded.events("store") == []
    needed = await ran(planned(STORED))
    assert needed.events("store") == ["ready"]
    assert needed.code == ExitCode.DONE


async def test_only_those_who_need_the_store_are_told_where_it_is(tmp_path: Path) -> None:
    await ran(planned(STORED), environ={"RECORDS": str(tmp_path)})
    told = {peer: said[3:] for peer, said in recorded(tmp_path).items()}
    assert told["boss"] == []
    assert told["helper.1"] == told["helper.2"]
    assert not Path(told["helper.1"][0]).parent.exists()


async def test_nothing_is_ready_before_the_store_is() -> None:
    never = {"STORE": "never-ready"}
    asked = (Question("boss", "why"),)
    result = await ran(planned(STORED), lambda record: None, never, asked=asked, timeout=1.0)
    assert "no complete answer came within 1 s" in result.events()
    assert not any("replicas ready in" in event for event in result.events())


@pytest.mark.bars
async def test_a_killed_store_is_started_again() -> None:
    killed: list[int] = []

    def react(record: dict[str, Any]) -> None:
        if record.get("process") == "store" and record["event"] == "ready":
            if killed:
                interrupt(record)
            else:
                killed.append(record["pid"])
                os.kill(record["pid"], signal.SIGKILL)

    result = await ran(planned(STORED), react)
    assert result.events("store")[1].startswith("killed by SIGKILL: it is started again in 0.")
    assert result.events("store")[2] == "ready"
    assert result.code == ExitCode.DONE


async def test_a_store_that_cannot_begin_ends_the_run_with_its_reason() -> None:
    result = await ran(planned(STORED), lambda record: None, {"STORE": "refuse"})
    assert result.events("store") == ["has failed for good: the store desk.db is used by process 7 already"]
    assert result.events()[-1].endswith("(store) failed for good")
    assert result.code == ExitCode.FAILED


def test_hub_and_store_end_together_after_all_others() -> None:
    children = {child.name: child for child in children_of(planned(STORED))}
    assert list(children)[:2] == ["(hub)", "(store)"]
    assert children["(hub)"].rank == children["(store)"].rank > max(children[name].rank for name in list(children)[2:])
    assert children["(store)"].essential


async def test_a_handler_that_does_not_fit_is_said_once_and_ends_the_run_with_its_code() -> None:
    result = await ran(odd("misfit"))
    assert result.events("odd") == ["has failed for good: app:Boss has no method for Review"]
    assert "only 3 of 4 replicas are ready" in result.events()
    assert result.events()[-1].endswith("odd failed for good")
    assert result.code == ExitCode.INVALID


async def test_one_failure_for_good_ends_everything_where_that_is_wished() -> None:
    """Nobody sends a signal: the run would go on with the others."""
    result = await ran(odd("misfit"), lambda record: None, abort_on_failure=True)
    assert result.events("odd") == ["has failed for good: app:Boss has no method for Review"]
    assert result.events()[-1].endswith("odd failed for good")
    assert result.code == ExitCode.INVALID


async def test_a_replica_that_was_replaced_is_not_started_again() -> None:
    result = await ran(odd("replaced"))
    [event] = result.events("odd")
    assert event.startswith("has failed for good: 4020 disconnected by the hub")
    assert result.code == ExitCode.FAILED


@pytest.mark.bars
async def test_a_replica_that_keeps_crashing_is_given_up_and_its_tracebacks_stay_whole() -> None:
    result = await ran(odd("crash", ", restart: {delay: 1ms, max_attempts: 1}"))
    tracebacks = [record for record in result.records if "RuntimeError: no luck today" in record["event"]]
    assert [record["event"].split("\n")[0] for record in tracebacks] == ["Traceback (most recent call last):"] * 2
    assert {record["level"] for record in tracebacks} == {"error"}
    assert result.events("odd")[-1] == "has failed for good: exit 1; it was restarted once within 600 s"
    assert result.code == ExitCode.FAILED


async def test_what_never_gets_ready_ends_a_question_instead_of_leaving_it_hanging() -> None:
    result = await ran(odd("misfit"), lambda record: None, asked=(Question("boss", "why"),))
    assert "nothing was asked, because 1 replica will never be ready" in result.events()
    assert result.code == ExitCode.INVALID


async def test_a_question_that_takes_too_long_ends_the_run_with_124(tmp_path: Path) -> None:
    mute = planned(SMALL + 'agents:\n  odd: {handler: "app:Odd", environment: {BEHAVE: mute}}\n')
    result = await ran(mute, lambda record: None, asked=(Question("boss", "why"),), timeout=0.2)
    assert "no complete answer came within 0.2 s" in result.events()
    assert result.code == ExitCode.TIMED_OUT


async def test_one_that_ignores_the_request_to_end_is_killed_when_its_time_is_over() -> None:
    result = await ran(odd("stubborn"), grace=0.3)
    assert "is killed: it did not end by itself" in result.events("odd")
    assert result.events()[-1].endswith("odd ended with killed by SIGKILL")
    assert result.code == ExitCode.FAILED


async def test_a_second_signal_kills_and_says_so_in_the_exit_code() -> None:
    def react(record: dict[str, Any]) -> None:
        if " ready in " in record["event"] or "ending in peace" in record["event"]:
            os.kill(os.getpid(), signal.SIGTERM)

    result = await ran(odd("stubborn"), react, grace=600.0)
    assert "SIGTERM again: killing what still runs" in result.events()
    assert result.code == ExitCode.TERMINATED


async def test_an_untidy_end_is_not_a_clean_one() -> None:
    result = await ran(odd("untidy"))
    assert result.events()[-1].endswith("odd ended with exit 1")
    assert result.code == ExitCode.FAILED


async def test_one_that_speaks_nonsense_on_its_control_socket_is_killed() -> None:
    result = await ran(odd("babble", ", restart: {condition: never}"))
    events = result.events("odd")
    assert events[0].startswith("a control message cannot be read")
    assert events[1].startswith("has failed for good: killed by SIGKILL")


async def test_readiness_follows_the_connection() -> None:
    def when_back(record: dict[str, Any]) -> None:
        if record["event"] == "is back at the hub":
            interrupt(record)

    result = await ran(odd("flicker"), when_back)
    assert result.events("odd")[1:3] == ["has lost the hub", "is back at the hub"]
    assert result.code == ExitCode.DONE


async def test_when_every_agent_has_failed_the_run_ends_by_itself() -> None:
    text = 'version: 1\nagents:\n  odd: {handler: "app:Odd", environment: {BEHAVE: misfit}}\n'
    result = await ran(planned(text), lambda record: None)
    assert result.code == ExitCode.INVALID


async def test_no_secret_is_in_the_log_the_arguments_or_the_environment_of_a_child(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def look(record: dict[str, Any]) -> None:
        for pid in pids:
            seen.append(Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes())
        interrupt(record)

    pids: list[int] = []

    def react(record: dict[str, Any]) -> None:
        pids.extend([record["pid"]] if "pid" in record else [])
        when_ready(look)(record)

    if sys.platform != "linux":
        react = when_ready()
    result = await ran(planned(), react, environ={"RECORDS": str(tmp_path), "ORCHESTRATOR_HUB_KEY": "canary"})
    everything = json.dumps(result.records).encode() + b"".join(seen)
    for _, token, _ in recorded(tmp_path).values():
        assert token.encode() not in everything
    assert b"sk_secret_" not in everything
    assert b"canary" not in everything


async def test_an_address_that_is_taken_is_said_before_anything_starts() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        plan = planned(f"{SMALL}hub: {{listen: '127.0.0.1:{port}'}}")
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            await ran(plan)


def test_questions_are_for_agents_or_for_single_replicas() -> None:
    plan = planned()
    assert questions(plan, [("boss", "a"), ("helper.2", "b")], {}) == (Question("boss", "a"), Question("helper.2", "b"))
    with pytest.raises(UnknownAgent, match=r"no agent 'bos' in this topology \(did you mean 'boss'\?\)"):
        questions(plan, [("bos", "a")], {})
    with pytest.raises(UnknownAgent, match="there are 'boss' and 'helper'"):
        questions(plan, [("xyz", "a")], {})


def test_a_fresh_key_is_long_enough_and_never_the_same() -> None:
    assert len(fresh_key().secret) >= 64
    assert fresh_key().secret != fresh_key().secret
    assert fresh_key().secret not in repr(fresh_key())


def test_a_question_in_words_is_for_an_agent_that_can_tell_which_task_it_is() -> None:
    plan = planned()
    report = HandlerReport("app:Helper", (HandledTask("Work", "task", "work", "int"),))
    [helper] = {replica.handler for replica in plan.replicas if replica.agent == "helper"}
    assert helper is not None
    with pytest.raises(TakesNoQuestions) as refused:
        questions(plan, [("helper", "a")], {helper: report})
    assert str(refused.value) == (
        "--ask: 'helper' takes no question in words: it takes 'Work', and one task has to need a prompt and nothing else"
    )
