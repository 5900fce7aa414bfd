"""The file of a recording: whose it is, what is in it after a crash, a gap or a full disk, and how it is read again."""

from __future__ import annotations

import gzip
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from orchestrator.client.connection import Client
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.record_file import CannotRecord, Recorder, create
from orchestrator.hub.record_reading import NoRecording, Recording
from orchestrator.hub.recording import Event, RecordingHub
from orchestrator.hub.rehearsal import replay_check
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Claims, SecretKey, mint

KEY = SecretKey("sk_id_test", "sk_secret_" + "k" * 32)
BOTH = pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])


def ticks(count: int, start: int = 0) -> list[Event]:
    return [("tick", float(number), 0, None) for number in range(start + 1, start + count + 1)]


def recorded(path: Path, *events: Event) -> None:
    recorder = Recorder(path)
    for event in events:
        recorder.tell(event)
    recorder.close()


def times(path: Path) -> list[float]:
    return [line.t for line in Recording(path).lines() if line.k == "tick"]


@BOTH
def test_a_recording_is_its_owners_alone_and_replaces_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(CannotRecord, match=r"is there already, and a recording replaces nothing: name another file"):
        create(path)
    assert path.read_bytes() == before


def test_where_no_file_can_be_the_sentence_says_why(tmp_path: Path) -> None:
    with pytest.raises(CannotRecord, match=r"cannot be written: no such file or directory"):
        create(tmp_path / "nowhere" / "run.jsonl")


@BOTH
def test_a_hub_that_is_started_again_goes_on_in_the_same_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    create(path, b'{"type":"run-outline"}')
    recorded(path, *ticks(3))
    recorded(path, *ticks(2, 3))
    assert times(path) == [1, 2, 3, 4, 5]
    assert bytes(Recording(path).heading.outline) == b'{"type":"run-outline"}'


@BOTH
@pytest.mark.parametrize("lost", [1, 7, 20, 40])
def test_what_a_crash_has_torn_costs_no_more_than_itself(tmp_path: Path, name: str, lost: int) -> None:
    path = tmp_path / name
    create(path)
    recorded(path, *ticks(3))
    whole = path.stat().st_size
    recorded(path, *ticks(1, 3))
    os.truncate(path, max(whole + 1, path.stat().st_size - lost))
    torn = times(path)
    assert torn[:3] == [1, 2, 3]
    recorded(path, *ticks(2, 10))
    assert times(path) == [*torn, 11, 12]


@BOTH
def test_the_last_moment_is_found_from_the_end(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    create(path)
    recorded(path, *ticks(500))
    last = Recording(path).last()
    assert last is not None
    assert last.t == 500


def test_what_somebody_else_has_packed_is_read(tmp_path: Path) -> None:
    path, packed = tmp_path / "run.jsonl", tmp_path / "other.jsonl.gz"
    create(path)
    recorded(path, *ticks(20_000))
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert len(times(packed)) == 20_000
    last = Recording(packed).last()
    assert last is not None
    assert last.t == 20_000


@BOTH
def test_reading_goes_on_from_the_end_of_a_block(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    create(path)
    recorded(path, *ticks(30_000))
    recording = Recording(path)
    blocks = list(recording.blocks())
    assert len(blocks) > 2
    behind = blocks[1].end
    assert behind is not None
    first = [line for block in blocks[2:] for line in recording.read(block)]
    assert [line.t for line in recording.lines(behind)] == [line.t for line in first]


@pytest.mark.parametrize(
    "content", [b"", b"not json\n", b'{"k":"tick","t":1}\n', b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"]
)
def test_what_is_no_recording_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(NoRecording, match="is no recording: it does not begin with"):
        Recording(path)


def test_a_recording_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"k":"recording","format":9,"began":1.0}\n')
    with pytest.raises(NoRecording, match="is a recording of format 9; this version of orchestrator reads 1"):
        Recording(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoRecording, match=r"gone\.jsonl cannot be read: no such file or directory"):
        Recording(tmp_path / "gone.jsonl")


def test_when_too_much_waits_the_hub_goes_on_and_the_gap_is_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.jsonl"
    create(path)
    recorder = Recorder(path, most=10)
    for event in ticks(100):  # the thread gathers, and has taken none of them yet
        recorder.tell(event)
    while recorder._waiting:
        recorder._thread.join(0.01)
    for event in ticks(1, 100):
        recorder.tell(event)
    recorder.close()
    told = [line for line in Recording(path).lines() if line.k in ("tick", "gap")]
    (gap,) = [line for line in told if line.k == "gap"]
    assert gap.d == {"missing": recorder.missing, "since": len(told[: told.index(gap)]) + 1}
    assert sum(line.k == "tick" for line in told) + recorder.missing == 101
    assert recorder.missing >= 80
    assert "cannot be written as fast as the hub works: frames are missing" in caplog.text
    assert f"{recorder.missing} events of the hub are missing from the recording" in caplog.text


def test_bytes_that_wait_are_bounded_and_those_for_many_count_once(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    create(path)
    recorder = Recorder(path, room=10_000)
    piece = b"\x81\x7e\x03\xe8" + b"x" * 1_000
    for number in range(1, 51):
        recorder.tell(("out", 1.0, number, piece))
    assert not recorder._gap
    for number in range(50):
        recorder.tell(("in", 2.0, 1, b"y" * (1_000 + number)))
    assert recorder._gap > 30
    recorder.close()


FULL = """
    import logging, resource, signal, sys
    from pathlib import Path
    from orchestrator.hub.record_file import Recorder, create
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = Path(sys.argv[1])
    create(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    recorder = Recorder(path)
    for number in range(5_000):
        recorder.tell(("tick", float(number), 0, None))
    recorder._thread.join(10)
    print(recorder.broken)
    recorder.tell(("tick", 1.0, 0, None))
    recorder.close()
"""


def test_a_disk_that_is_full_ends_the_recording_loudly_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(path)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
    assert "the recording ends here, and the hub goes on without it: file too large" in done.stderr
    assert path.read_bytes().endswith(b"\n")
    assert Recording(path).torn == 0


async def test_a_real_hub_is_recorded_and_repeated(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    create(path)
    server = Server(KeyRing([KEY]), Settings(drain_window=0.1), record=Recorder(path))
    await server.start(listen(parse_address("127.0.0.1:0")))
    ann, ben = client(server, "ann"), client(server, "ben")
    async with ann, ben:
        for each in (ann, ben):
            await each.subscribe("room")
        for number in range(20):
            await ann.publish("room", {"n": number, "password": "hunter2"})
            await ben.send("ann", {"text": "x" * number * 100})
    await server.drain()
    found = replay_check(path)
    assert found.same, str(found)
    assert found.inputs >= 42
    lines = list(Recording(path).lines())
    assert not any("hunter2" in (line.x or "") for line in lines)
    assert [line.k for line in lines][-1] == "closed-file"
    assert isinstance(server.hub, RecordingHub)


def client(server: Server, name: str) -> Client:
    async def token() -> str:
        import time

        return mint(KEY, Claims(sub=name, exp=int(time.time()) + 60))

    return Client(server.url, token_provider=token)
