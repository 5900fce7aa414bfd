"""What dashboards are told of a recording, and how a replay goes forwards and backwards in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.hub.record_file import Recorder, create
from orchestrator.hub.record_lines import Line, encode_line
from orchestrator.hub.record_reading import Recording
from orchestrator.protocol.dashboard import AgentOutline, RunOutline, RunUpdate, TeamOutline
from orchestrator.protocol.frames import encode_json
from orchestrator.runtime.replay_player import Player
from orchestrator.runtime.replaying import Replaying

BEGAN = 1_790_000_000.0
OUTLINE = RunOutline(
    "desk",
    "desk.yaml",
    "here",
    BEGAN,
    agents=(
        AgentOutline("lead", "lead", "coordinator", ("lead",), workers=("reviewer",)),
        AgentOutline("reviewer", "reviewer", "worker", ("reviewer.1", "reviewer.2")),
    ),
    teams=(TeamOutline("desk", "teams/desk/state", ("lead",)),),
)


def hub(t: float = 50.0, wall: float = BEGAN + 1) -> Line:
    return Line("hub", t, d={"wall": wall, "settings": {}, "joined": False})


def connect(number: int, peer: str, t: float, instance: str = "i", **public: Any) -> Line:
    said = {"peer": peer, "instance": instance, "public": json.dumps(public) if public else None}
    allowed: dict[str, Any] = {
        "app": "app",
        "expires": None,
        "rate": None,
        "actions": [],
        "scopes": [],
        "grants": None,
        "private": None,
    }
    return Line("connect", t, number, d=said | allowed | {"wall": t})


def sent(number: int, to: str, t: float, **data: Any) -> Line:
    return Line("in", t, number, x=json.dumps({"type": "send", "to": to, "data": data}))


def published(number: int, channel: str, t: float, **data: Any) -> Line:
    return Line("in", t, number, x=json.dumps({"type": "publish", "channel": channel, "data": data}))


def story() -> list[Line]:
    return [
        hub(),
        connect(1, "lead", 51.0),
        connect(2, "reviewer.1", 51.5),
        connect(3, "cli/ada", 52.0),
        Line("in", 52.0, 2, x='{"type":"subscribe","channel":"tasks/reviewer.1"}'),
        sent(3, "lead", 53.0, type="ask", prompt="why?", taskId="q"),
        published(1, "tasks/reviewer.1", 54.0, type="task", taskId="t1", task="Review", attempt=2),
        sent(2, "lead", 54.5, type="task-accepted", taskId="t1", attempt=2, load={"inflight": 1, "capacity": 4}),
        published(1, "teams/desk/state", 55.0, type="claim", itemId="x"),
        sent(2, "lead", 56.5, type="task-error", taskId="t1", attempt=2, error={"type": "Bad", "message": "no"}),
        sent(1, "cli/ada", 57.0, type="completion-chunk", streamId="q", seq=0, content="so", done=False),
        Line("disconnect", 58.0, 2, x="lost"),
        connect(4, "reviewer.1", 59.0, "other"),
        Line("in", 59.5, 3, x="what?"),
    ]


def told(lines: list[Line]) -> Replaying:
    state = Replaying(encode_json(OUTLINE), name="desk.jsonl", began=BEGAN, seconds=11.0)
    for line in lines:
        state.feed(line)
    return state


def taken(state: Replaying) -> RunUpdate:
    update = state.take()
    assert update is not None
    return update


def test_replicas_come_and_go_with_their_connections() -> None:
    update = taken(told(story()[:-1]))
    replicas = {each.peer: each for each in update.replicas}
    assert {peer: each.state for peer, each in replicas.items()} == {"lead": "ready", "reviewer.1": "ready"}
    assert replicas["reviewer.1"].restarts == 1
    assert replicas["reviewer.1"].since == BEGAN + 10
    gone = taken(told(story()[:-2])).replicas
    assert {each.peer: each.state for each in gone}["reviewer.1"] == "offline"


def test_messages_become_flows_between_agents_users_and_teams() -> None:
    assert set(taken(told(story())).flows) == {
        ("cli", "lead", "ask", 1),
        ("lead", "reviewer", "task", 1),
        ("lead", "team/desk", "claim", 1),
        ("reviewer", "lead", "result", 1),
        ("lead", "cli", "chunk", 1),
    }


def test_a_task_runs_from_its_acceptance_to_its_end() -> None:
    running, failed = taken(told(story())).tasks
    assert (running.id, running.task, running.peer, running.origin) == ("t1", "Review", "reviewer.1", "lead")
    assert (running.state, running.attempt, running.time) == ("running", 2, BEGAN + 5.5)
    assert (failed.state, failed.seconds, failed.error) == ("failed", 2.0, "Bad: no")


def test_a_task_is_lost_with_its_replica() -> None:
    lines = [line for line in story() if "task-error" not in (line.x or "")]
    assert [task.state for task in taken(told(lines)).tasks] == ["running", "lost"]


def test_the_log_says_every_frame_in_words() -> None:
    log = [(line.source, line.level, line.event) for line in taken(told(story())).log]
    assert ("cli/ada", "info", "→ lead: ask 'why?'") in log
    assert ("lead", "info", "→ tasks/reviewer.1: task Review t1, attempt 2") in log
    assert ("reviewer.1", "warning", "→ lead: task-error t1: Bad: no") in log
    assert ("lead", "debug", "→ cli/ada: completion-chunk 0 of q") in log
    assert ("cli/ada", "warning", "sends what is no message: what?") in log


def test_the_load_of_an_agent_is_told_with_what_ended() -> None:
    (reviewer,) = [load for load in taken(told(story()[:11])).load if load.agent == "reviewer"]
    assert (reviewer.ended, reviewer.failed, reviewer.p50) == (1, 1, 2.0)


def test_what_was_told_is_not_told_again_and_the_whole_holds_it() -> None:
    state = told(story())
    taken(state)
    assert state.take() is None
    whole = state.whole()
    assert whole.whole
    assert [task.state for task in whole.tasks] == ["failed"]
    assert {each.peer for each in whole.replicas} == {"lead", "reviewer.1", "reviewer.2"}
    assert whole.position == 10.5


def test_the_outline_says_that_it_is_a_replay() -> None:
    outline = told([]).outline
    assert outline.replay is not None
    assert (outline.replay.began, outline.replay.seconds, outline.replay.speed) == (BEGAN, 11.0, 1.0)
    assert not outline.admin


def test_where_nobody_planned_them_agents_are_those_that_come() -> None:
    state = Replaying(b"null", name="hub.jsonl", began=BEGAN, seconds=5.0)
    assert state.agents == 0
    for line in [hub(), connect(1, "a.1", 51.0, kind="agent", agent="a"), connect(2, "eve", 51.0)]:
        state.feed(line)
    assert [(agent.name, agent.replicas) for agent in state.outline.agents] == [("a", ("a.1",))]


@given(
    st.lists(
        st.builds(
            Line,
            st.sampled_from(["in", "disconnect", "lost", "closed", "cut", "tick", "out"]),
            st.floats(50, 60),
            st.integers(0, 4),
            x=st.text(max_size=20) | st.sampled_from([line.x for line in story() if line.x]),
        ),
        max_size=30,
    )
)
def test_nothing_that_a_recording_holds_breaks_a_replay(lines: list[Line]) -> None:
    state = told([*story(), *lines])
    msgspec.json.decode(encode_json(taken(state)))
    msgspec.json.decode(encode_json(state.whole()))


# -- the player


@pytest.fixture(params=["run.jsonl", "run.jsonl.gz"])
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Recording:
    """600 tasks, one each tenth of a second, in several blocks."""
    path = tmp_path / request.param
    create(path, encode_json(OUTLINE))
    recorder = Recorder(path)
    recorder.close()
    lines = story()[:5]
    for number in range(600):
        at, name = 60 + number / 10, f"t{number}"
        lines.append(published(1, "tasks/reviewer.1", at, type="task", taskId=name, task="Review", pad="x" * 900))
        lines.append(sent(2, "lead", at + 0.02, type="task-accepted", taskId=name))
        lines.append(sent(2, "lead", at + 0.05, type="task-result", taskId=name, result=number))
    began = Recording(path).heading.began
    lines[0] = hub(wall=began + 1)
    plain = b"".join(encode_line(line) + b"\n" for line in lines)
    if request.param.endswith(".gz"):
        import gzip

        pieces = [plain[at : at + 100_000] for at in range(0, len(plain), 100_000)]
        with path.open("ab") as file:
            rest = b""
            for piece in pieces:
                whole = (rest + piece).rfind(b"\n") + 1
                file.write(gzip.compress((rest + piece)[:whole], mtime=0))
                rest = (rest + piece)[whole:]
    else:
        with path.open("ab") as file:
            file.write(plain)
    return Recording(path)


def at(recording: Recording, position: float) -> bytes:
    """Return what is so at a moment, for somebody who went straight there."""
    player = Player(recording)
    player.move(position)
    return encode_json(player.state.whole())


def test_a_player_knows_the_length_before_it_has_read(recording: Recording) -> None:
    player = Player(recording)
    assert player.seconds == pytest.approx(70.95, abs=0.01)
    assert player.position == 0.0


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0, 75), min_size=1, max_size=6))
def test_wherever_it_came_from_a_moment_is_the_same(tmp_path_factory: Any, stops: list[float]) -> None:
    path = tmp_path_factory.mktemp("replay") / "run.jsonl"
    create(path, encode_json(OUTLINE))
    began = Recording(path).heading.began
    with path.open("ab") as file:
        for line in [hub(wall=began + 1), *story()[1:]]:
            file.write(encode_line(line) + b"\n")
    recording = Recording(path)
    player = Player(recording, every=2)
    for stop in stops:
        player.move(stop)
    assert encode_json(player.state.whole()) == at(recording, min(stops[-1], player.seconds))


def test_it_goes_back_to_a_state_that_it_kept(recording: Recording) -> None:
    player = Player(recording, every=300)
    player.move(70)
    assert len(player._kept) > 3
    for position in (65.0, 20.0, 68.0, 0.0, 31.3):
        player.move(position)
        assert encode_json(player.state.whole()) == at(recording, position)


def test_speed_stays_when_it_goes_back(recording: Recording) -> None:
    player = Player(recording, speed=2.0)
    player.move(60)
    player.state.speed = 100.0
    player.move(10)
    assert player.state.speed == 100.0


def test_states_that_are_kept_are_bounded(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.runtime.replay_player.KEPT", 3)
    player = Player(recording, every=1)
    player.move(player.seconds)
    assert len(player._kept) <= 3
    player.move(33.0)
    assert encode_json(player.state.whole()) == at(recording, 33.0)
