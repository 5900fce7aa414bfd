"""A run that is recorded, and what `orchestrator replay` makes of the file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.hub.record_reading import Recording
from orchestrator.testing import replay_check
from tests.canary import found_in_text
from tests.journeys.running import ROOT, running, who

pytestmark = pytest.mark.journey


KEY = "sk_id_test:sk_secret_" + "k" * 32


async def command(*words: str, **more: str) -> tuple[int, str, str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orchestrator",
        *words,
        cwd=ROOT,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_tour_is_recorded_and_a_fresh_hub_does_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tour.jsonl"
    async with running("examples.yaml", "--record", str(path), "--ask", "lead", "asyncio") as run:
        assert await run.ended(60) == 0, run.said()
    code, out, err = await command("replay", str(path), "--check")
    assert (code, err) == (0, "")
    assert out.endswith(" frames out: the same\n")
    assert not found_in_text(path.read_text(), "the recording")
    outline = json.loads(bytes(Recording(path).heading.outline))
    assert {agent["name"] for agent in outline["agents"]} == {"lead", "reviewer", "narrator", "checker", "concierge"}

    text = path.read_text()
    at = text.index("files reviewed", text.index('"k":"frame"'))
    line = text.rindex("\n", 0, at) + 1
    while not text.startswith('{"k":"frame"', line):
        at = text.index("files reviewed", at + 1)
        line = text.rindex("\n", 0, at) + 1
    path.write_text(text[:at] + "F" + text[at + 1 :])
    code, out, err = await command("replay", str(path), "--check")
    assert (code, err) == (1, "")
    assert "Files reviewed" in out
    assert " s, to cli/" in out


@pytest.mark.bars
async def test_a_hub_that_is_killed_leaves_a_recording_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    async with running("topologies/stream.yaml", "--record", str(path)) as run:
        await run.ready()
        seen = len(run.records)
        os.kill(run.pids()["hub"], signal.SIGKILL)
        await run.until(lambda record: record["event"] == "ready" and who(record) == "hub", after=seen)
        await run.until(lambda record: who(record) == "teller" and "connected" in record["event"], after=seen)
        run.process.send_signal(signal.SIGINT)
        await run.ended(30)
    recording = Recording(path)
    hubs = [line for line in recording.lines() if line.k == "hub"]
    assert len(hubs) == 2
    found = replay_check(path)
    assert not found.unequal, str(found)


@pytest.mark.parametrize("argument", ["--hub", "there already"])
async def test_what_cannot_be_recorded_is_refused_before_anything_starts(tmp_path: Path, argument: str) -> None:
    path = tmp_path / "run.jsonl"
    words = ["run", "topologies/stream.yaml", "--record", str(path)]
    if argument == "--hub":
        words[1] = str(tmp_path / "away.yaml")
        words += ["--app-dir", str(ROOT)]
        hub = '{url: "ws://127.0.0.1:1", key: "${HUB_KEY}"}'
        agents = "{teller: {handler: agents.teller:Teller}}"
        (tmp_path / "away.yaml").write_text(f"version: 1\nname: away\nhub: {hub}\nagents: {agents}\n")
    else:
        path.write_text("mine")
    code, _, err = await command(*words, HUB_KEY=KEY)
    assert code == 2
    expected = "`orchestrator hub serve`" if argument == "--hub" else "a recording replaces nothing"
    assert expected in err
    assert not path.exists() or path.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("gone.jsonl",), "gone.jsonl cannot be read: no such file or directory"),
        (("README.md", "--check"), "README.md is no recording: it does not begin with what"),
        (("x.jsonl", "--speed", "0"), "'0' is not a number from 0.1 to 1000"),
        (("x.jsonl", "--port", "70000"), "'70000' is not a port: 0 to 65535"),
    ],
)
async def test_what_cannot_be_replayed_is_said_in_a_sentence(words: tuple[str, ...], sentence: str) -> None:
    code, out, err = await command("replay", *words)
    assert code != 0
    assert out == ""
    assert sentence in err


@pytest.mark.bars
async def test_a_replay_prints_its_link_and_ends_with_the_interrupt(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with running(
        "topologies/stream.yaml", "--record", str(path), "--ask", "teller", "a tale of 3 friends"
    ) as run:
        assert await run.ended(30) == 0, run.said()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orchestrator",
        "replay",
        str(path),
        "--no-open",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = await process.stdout.readline()
        assert b" s are shown at http://127.0.0.1:" in line
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")
