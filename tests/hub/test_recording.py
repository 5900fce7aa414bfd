"""A hub that is recorded, and the recording held against a fresh hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.hub.core import Hub
from orchestrator.hub.record_lines import Line, Spelling, decode_line, encode_line
from orchestrator.hub.recording import Event, RecordingHub
from orchestrator.hub.rehearsal import Comparison, Rehearsal, replay_check
from orchestrator.hub.rosters import Reason
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import Rate
from tests.canary import CANARY
from tests.hub.rig import KEY, WALL, Peer, Rig


class RecordedRig(Rig):
    """A rig whose hub is recorded into `events`."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.events: list[Event] = []
        self.make_hub = lambda given, fault: RecordingHub(given, self.events.append, fault)
        super().__init__(settings)
        assert isinstance(self.hub, RecordingHub)
        self.hub.begin(self.now, self.wall)

    def lines(self) -> Iterator[Line]:
        """Yield the lines of the recording, as they are read again."""
        spelling = Spelling()
        for event in self.events:
            for line in spelling.lines(event):
                yield decode_line(encode_line(line))


def compared(lines: Iterator[Line]) -> Comparison:
    rehearsal = Rehearsal(WALL + 100)
    for line in lines:
        rehearsal.feed(line)
    rehearsal.settle()
    return rehearsal.comparison()


def everything(rig: RecordedRig) -> None:
    """Do to a hub all that there is."""
    ann, ben = rig.connect("ann", peer_metadata={"kind": "agent"}), rig.connect("ben", metadata={"asks": [CANARY]})
    eve = rig.connect("eve", rate=Rate(5, 5))
    for peer in (ann, ben, eve):
        peer.send({"type": "subscribe", "channel": "room", "requestId": "1"})
    rig.advance(0.1)
    ann.send({"type": "publish", "channel": "room", "data": {"token": CANARY}, "id": "m1", "requestId": "2"})
    ben.send({"type": "send", "to": "ann", "data": "hi", "requestId": "3"})
    ben.send(b"\xff\xfe no text")
    ann.send(b"{}" * 50_000)
    late = rig.connect("late", life=20)
    for _ in range(7):
        eve.send({"type": "ping"})
    rig.hub.broadcast("default", "room", "outside", b'{"a":1}', None, rig.now)  # type: ignore[arg-type]
    rig.hub.attempt("default")
    again = rig.connect("gus", instance="one")
    again.send({"type": "subscribe", "channel": "room"})
    rig.advance(0.1)
    other = rig.connect("gus", instance="one")
    assert other.connection is not None
    rig.hub.receive_ping(other.connection, b"x", rig.now)
    rig.hub.receive_binary(other.connection, b"\x00\x01", rig.now)
    rig.hub.receive_pong(other.connection, rig.now)
    rig.hub.receive_fragment(other.connection, rig.now)
    rig.flush()
    rig.connect("gus", instance="two")
    rig.hub.kick("default", "gus", rig.now)
    rig.flush()
    stays = rig.connect("stays")
    stays.leave(Reason.LOST)
    wrong = rig.connect("wrong")
    assert wrong.connection is not None
    rig.hub.violation(wrong.connection, CloseCode.PROTOCOL_ERROR, rig.now)
    rig.flush()
    slow = rig.connect("slow")
    slow.send({"type": "subscribe", "channel": "room"})
    assert slow.connection is not None
    rig.hub.stalled(slow.connection, 1_000, rig.now)
    rig.hub.resumed(slow.connection, rig.now)
    rig.hub.stalled(slow.connection, 2_000_000, rig.now)
    rig.advance(60)
    assert late.code() is not None
    rig.hub.rekey(type(rig.keys)(), rig.now)
    rig.flush()
    rig.hub.drain(rig.now)
    rig.advance(1)


def test_a_fresh_hub_does_the_same_with_everything_that_there_is() -> None:
    rig = RecordedRig()
    everything(rig)
    found = compared(rig.lines())
    assert found.same, str(found)
    kinds = {line.k for line in rig.lines()}
    assert kinds >= {"connect", "in", "out", "closed", "kick", "rekey", "drain", "broadcast", "stalled", "tick", "sent"}
    assert str(found) == f"{found.inputs} frames in, {found.outputs} frames out: the same"


def test_no_line_holds_a_secret_or_what_opened_a_connection() -> None:
    rig = RecordedRig()
    everything(rig)
    text = b"\n".join(map(encode_line, rig.lines()))
    for secret in (CANARY, KEY.secret, KEY.id, "eyJ"):
        assert secret.encode() not in text


channels = st.sampled_from(["a", "a/b", "a/*", "**"])
deeds = st.tuples(
    st.integers(0, 3),
    st.one_of(
        st.builds(lambda c: {"type": "subscribe", "channel": c, "requestId": "r"}, channels),
        st.builds(lambda c: {"type": "unsubscribe", "channel": c}, channels),
        st.builds(lambda c: {"type": "publish", "channel": c, "data": 1, "requestId": "p"}, channels),
        st.builds(lambda n: {"type": "send", "to": f"p{n}", "data": {"n": n}}, st.integers(0, 4)),
        st.sampled_from(["leave", "again", "kick"]),
    ),
    st.sampled_from([0.0, 0.01, 0.03, 0.05, 12.0, 30.0]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(deeds, max_size=25))
def test_so_it_does_with_any_history(history: list[tuple[int, Any, float]]) -> None:
    rig = RecordedRig()
    peers = [rig.connect(f"p{number}", instance="i") for number in range(4)]
    for number, deed, passes in history:
        rig.advance(passes)
        match deed:
            case "leave":
                peers[number].leave()
            case "again":
                peers[number] = rig.connect(f"p{number}", instance="i")
            case "kick":
                rig.hub.kick("default", f"p{number}", rig.now)
                rig.flush()
            case _:
                peers[number].send(deed)
    rig.advance(0.1)
    found = compared(rig.lines())
    assert found.same, str(found)


def talked() -> list[Line]:
    rig = RecordedRig()
    ann, ben = rig.connect("ann"), rig.connect("ben")
    assert isinstance(ann, Peer)
    rig.advance(1.5)
    ann.send({"type": "send", "to": "ben", "data": {"text": "good morning"}})
    ben.send({"type": "ping", "requestId": "x"})
    return list(rig.lines())


def test_one_byte_of_an_outcome_that_is_another_is_found_and_shown() -> None:
    lines = talked()
    (said,) = [line for line in lines if line.k == "frame" and "good" in (line.x or "")]
    said.x = (said.x or "").replace("good", "gold")
    found = compared(iter(lines))
    (difference,) = found.differences
    assert (difference.peer, round(difference.seconds, 3)) == ("ben", 1.5)
    assert "gold morning" in difference.recorded
    assert "good morning" in difference.now
    assert str(found).startswith("2 frames in, 4 frames out: 1 difference\nat 1.500 s, to ben:")


@pytest.mark.parametrize("kind", ["out", "closed"])
def test_an_outcome_that_is_missing_on_one_side_is_found(kind: str) -> None:
    lines = talked()
    if kind == "out":
        del lines[next(index for index, line in enumerate(lines) if line.k == "in")]
    else:
        lines.append(Line("closed", lines[-1].t, 1, x="gone", n=1001))
    found = compared(iter(lines))
    assert found.unequal == 1
    assert "nothing" in (found.differences[0].now, found.differences[0].recorded)


def test_a_gap_ends_the_comparison_and_is_said() -> None:
    lines = talked()
    lines.append(Line("gap", lines[-1].t, d={"missing": 3, "since": 101.0}))
    found = compared(iter(lines))
    assert not found.same
    assert found.ends.startswith("3 events are missing from the recording at 1.000 s")


def test_what_was_joined_to_others_is_not_compared() -> None:
    line = Line("hub", 1.0, d={"wall": WALL, "settings": {}, "joined": True})
    assert "only the recording of a hub by itself" in compared(iter([line])).ends


def test_settings_of_another_version_are_named() -> None:
    line = Line("hub", 1.0, d={"wall": WALL, "settings": {"wings": 2}, "joined": False})
    assert compared(iter([line])).ends == "the hub had settings that this version does not know: wings"


def test_a_hub_that_is_not_recorded_is_a_plain_one() -> None:
    server = Server(Rig().keys, Settings())
    assert type(server.hub) is Hub
    assert type(server.hub.outbox()).__name__ == "Outbox"


def test_a_frame_for_many_is_in_the_recording_once() -> None:
    rig = RecordedRig()
    for number in range(20):
        rig.connect(f"p{number}").send({"type": "subscribe", "channel": "room"})
    rig.advance(0.2)
    rig.hub.broadcast("default", "room", "all", json.dumps("x" * 500).encode(), None, rig.now)  # type: ignore[arg-type]
    rig.flush()
    assert sum(line.k == "frame" and "xxx" in (line.x or "") for line in rig.lines()) == 1


def test_the_name_of_a_file_is_no_part_of_what_a_hub_knows(tmp_path: Path) -> None:
    rig = RecordedRig(Settings(tls_certificate=str(tmp_path / "a.pem"), backplane=f"redis://:{CANARY}@localhost"))
    (line,) = rig.lines()
    assert line.d["joined"]
    assert CANARY not in encode_line(line).decode()
    assert str(tmp_path) not in encode_line(line).decode()


DEEP = json.loads("[" * 300 + "]" * 300)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("hub", {"d": None}),
        ("hub", {"d": {"wall": "noon", "settings": {}, "joined": False}}),
        ("hub", {"d": {"wall": 1.0, "settings": {"max_frame": "much"}, "joined": False}}),
        ("connect", {"d": {"peer": "ann"}}),
        ("connect", {"d": DEEP}),
        ("in", {"x": None, "n": 1 << 60}),
        ("in", {"x": None, "b": "no base64"}),
        ("disconnect", {"x": "bored"}),
        ("violation", {"n": 77}),
        ("end", {"d": [1000, "bye", "bored"]}),
        ("gap", {"d": {"missing": "some", "since": 1.0}}),
        ("broadcast", {"d": {"from": "ann"}}),
        ("kick", {"d": ["only one"]}),
        ("rekey", {"d": [[1, 77]]}),
        ("drain", {"d": "now"}),
    ],
)
def test_a_line_that_holds_what_its_kind_never_has_is_torn_and_ends_no_comparison_in_a_fault(
    tmp_path: Path, kind: str, changed: dict[str, Any]
) -> None:
    lines = [b'{"k":"recording","format":1,"began":1.0}', *map(encode_line, talked())]
    at = next((at for at, line in enumerate(lines) if line.startswith(b'{"k":"%b"' % kind.encode())), len(lines))
    line = json.loads(lines[at]) if at < len(lines) else {"k": kind, "t": 110.0, "c": 1}
    lines[at : at + 1] = [json.dumps(line | changed).encode()]
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"\n".join([*lines, b""]))
    found = replay_check(path)
    assert not found.same
    assert found.ends


def test_a_line_of_many_brackets_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"k":"recording","format":1,"began":1.0}\n{"k":"tick","t":1.0,"d":' + b"[" * 100_000 + b"\n")
    assert "1 lines" in replay_check(path).ends
