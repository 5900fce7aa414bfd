"""`orchestrator bench`, as somebody types it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.cli.bench_text import table
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.hub import key_file
from orchestrator.hub.keys import KeyRing
from orchestrator.protocol.tokens import SecretKey
from tests.cli.test_start_up import OF_HANDLERS, SLOW, imported
from tests.hub.sockets import KEY, raw_peer, server

if TYPE_CHECKING:
    from pathlib import Path

LIMITED = KeyRing([SecretKey(KEY.id, KEY.secret)])
WARM_NS = 600_000_000
"""Nanoseconds after which a measurement is past its warming up."""
TIMES = {"p50_ms", "p95_ms", "p99_ms"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.yaml"
    with key_file.changed(path) as content:
        content.secret_keys.append(key_file.SecretEntry(KEY.id, KEY.secret, rate="unlimited"))
    return path


async def bench(url: str, *words: str, environment: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "bench", "--hub", url, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )


async def result(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_every_workload_is_measured_and_told_as_json(keys: Path) -> None:
    words = ("--keys", str(keys), "--connections", "6", "--duration", "0.6", "--chunks", "200", "--json")
    async with server() as hub:
        code, out, err = await result(await bench(hub.url, *words))
    assert (code, err) == (ExitCode.DONE, "")
    told: dict[str, Any] = json.loads(out)
    assert list(told["found"]) == ["connect", "fan_out", "direct", "round_trip", "stream"]
    assert told["found"]["connect"]["operations"] == 6
    assert (told["messages_per_second_allowed"], told["interrupted"]) == (None, False)
    for part, found in told["found"].items():
        assert found["operations"] > 0, part
        assert found["lost"] == 0, part
        assert part == "direct" or all(found[name] > 0 for name in TIMES), part


async def test_a_key_from_the_environment_does_and_a_limit_is_said() -> None:
    words = ("--workload", "direct", "--connections", "2", "--duration", "0.2")
    async with server(keys=LIMITED) as hub:
        environment = {"HUB_KEY": f"{KEY.id}:{KEY.secret}"}
        code, out, err = await result(await bench(hub.url, *words, environment=environment))
    assert code == ExitCode.DONE
    assert [line.split()[0] for line in out.splitlines()] == ["WORKLOAD", "direct", "round"]
    assert "this hub lets each connection send 100 messages a second" in err
    assert KEY.secret not in out + err


async def test_ctrl_c_ends_it_with_what_was_measured(keys: Path) -> None:
    words = ("--keys", str(keys), "--workload", "fan-out", "--connections", "3", "--duration", "600", "--json")
    async with server(keys=LIMITED) as hub, raw_peer(hub.url, "beside") as beside:
        beside.say({"type": "subscribe", "channel": "load/here"})
        process = await bench(hub.url, *words, "--channel", "load/here")
        made: list[int] = []
        async with asyncio.timeout(20):
            while not made or made[-1] - made[0] < WARM_NS:
                message = await beside.message()
                if message["type"] == "message":
                    made.append(int(message["data"]["at"]))
        process.send_signal(signal.SIGINT)
        code, out, _ = await result(process)
    assert code == ExitCode.INTERRUPTED
    told = json.loads(out)
    assert told["interrupted"] is True
    assert told["found"]["fan_out"]["operations"] > 0
    assert told["found"]["fan_out"]["lost"] == 0


def test_a_hub_that_is_not_there_is_unreachable(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["bench", "--hub", "ws://127.0.0.1:1", "--keys", str(keys), "--connections", "1"])
    assert code == ExitCode.UNREACHABLE
    assert "the hub at ws://127.0.0.1:1 could not be reached after 1 attempt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("--hub http://localhost:1 --keys KEYS", 2, "the scheme is wss, or ws for localhost"),
        ("--hub ws://localhost:1", 2, "give --keys FILE, or set the variable HUB_KEY"),
        ("--hub ws://localhost:1 --keys nowhere.yaml", 1, "`orchestrator keys new --keys nowhere.yaml` makes one"),
        ("--hub ws://localhost:1 --keys KEYS --workload fanout", 2, "(did you mean 'fan-out'?)"),
        ("--hub ws://localhost:1 --keys KEYS --duration 0", 2, "no time in seconds"),
        ("--hub ws://localhost:1 --keys KEYS --connections none", 2, "no whole number of at least 1"),
        ("--hub ws://localhost:1 --keys KEYS --connections 900000000", 2, "files open, so at most"),
        ("--hub ws://localhost:1 --keys KEYS --size 10", 2, "no size of a message"),
        ("--hub ws://localhost:1 --keys KEYS --channel a/*", 2, "no name of a channel"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(
    words: str,
    code: int,
    sentence: str,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HUB_KEY", raising=False)
    try:
        ended = main(["bench", *words.replace("KEYS", str(keys)).split()])
    except SystemExit as usage:
        ended = int(usage.code or 0)
    assert ended == code
    assert sentence in capsys.readouterr().err


def test_its_help_imports_nothing_that_measures() -> None:
    assert imported("bench", "--help") & {*OF_HANDLERS, *SLOW, "aiohttp", "jwt", "uvloop"} == set()


def test_nothing_measured_is_a_table_of_titles() -> None:
    assert table([]) == ["WORKLOAD  PER SECOND    P50 MS  P95 MS  P99 MS  LOST"]
