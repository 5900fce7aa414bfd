"""`orchestrator hub serve` and `orchestrator keys`, as somebody types them."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.hub import key_file
from orchestrator.protocol.codes import Action
from tests.hub.sockets import PING, raw, upgrade
from tests.interop.hub_process import hub_process

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error of one command."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def test_a_new_key_is_printed_alone_and_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    code, pair, _ = run("keys", "new", "--keys", str(path))
    key_id, _, secret = pair.strip().partition(":")
    assert code == ExitCode.DONE
    assert key_file.load(path).ring().secret[key_id].secret == secret
    assert len(secret) >= 32
    more = ("--channels", "a/*", "b", "--actions", "subscribe", "--origins", "https://x.example", "--app", "shop")
    code, page, _ = run("keys", "new", "--keys", str(path), "--publishable", *more, "--rate", "5:10")
    key = key_file.load(path).ring().publishable[page.strip()]
    assert (key.app, set(key.channels), key.actions, set(key.origins)) == (
        "shop",
        {"a/*", "b"},
        frozenset({Action.SUBSCRIBE}),
        {"https://x.example"},
    )


def test_keys_are_listed_without_their_secrets_and_revoked_by_id(tmp_path: Path) -> None:
    path = str(tmp_path / "keys.yaml")
    _, pair, _ = run("keys", "new", "--keys", path)
    _, page, _ = run("keys", "new", "--keys", path, "--publishable")
    key_id, _, secret = pair.strip().partition(":")
    code, listing, _ = run("keys", "list", "--keys", path)
    assert code == ExitCode.DONE
    assert key_id in listing
    assert secret not in listing
    assert page.strip() not in listing
    assert run("keys", "revoke", key_id, "--keys", path)[0] == ExitCode.DONE
    assert "revoked" in run("keys", "list", "--keys", path)[1]
    code, _, error = run("keys", "revoke", key_id[:-1], "--keys", path)
    assert code == ExitCode.FAILED
    assert f"(did you mean {key_id!r}?)" in error
    assert secret not in run("keys", "revoke", f"sk_id_other:{secret}", "--keys", path)[2]
    assert run("keys", "revoke", pair.strip(), "--keys", path)[0] == ExitCode.DONE


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("keys", "new", "--actions", "pubish"), 2, "there is no action 'pubish' (did you mean 'publish'?)"),
        (("keys", "new", "--rate", "fast"), 2, "'fast' is not a rate; write N:BURST"),
        (("keys", "new", "--origins", "https://a"), 2, "--origins is for publishable keys"),
        (("keys", "list"), 1, "there is no such key file"),
        (("hub", "serve"), 1, "there is no such key file"),
        (("hub", "serve", "--listen", "nowhere"), 2, "'nowhere' is not an address to listen on"),
        (("hub", "serve", "--listen", "0.0.0.0:0"), 2, "can be reached from other machines"),
        (("hub", "serve", "--listen", "[::]:0"), 2, "give --tls-cert, or --insecure to do without TLS"),
        (("hub", "serve", "--listen", "hub.example:0"), 2, "can be reached from other machines"),
        (("hub", "serve", "--listen", "fd:x"), 2, "'fd:x' is no inherited socket; write fd:N"),
        (("hub", "serve", "--listen", "fd:987654"), 2, "was given no socket under that number"),
        (("keys", "new", "--channels", ""), 2, "'' is no pattern of channels"),
        (("hub", "serve", "--tls-key", "x"), 2, "--tls-key needs --tls-cert"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(
    tmp_path: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    found, out, error = run(*words, "--keys", str(tmp_path / "keys.yaml"))
    assert (found, out) == (code, "")
    assert sentence in error
    assert error.startswith("orchestrator: ")
    assert "Traceback" not in error


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "keys.yaml")
    run("keys", "new", "--keys", path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, error = run("hub", "serve", "--keys", path, "--listen", address)
    assert code == ExitCode.FAILED
    assert error == (
        f"orchestrator: cannot listen on {address}: another program is listening there; port 0 takes any free port\n"
    )


async def test_a_hub_serves_the_socket_that_it_inherits(tmp_path: Path) -> None:
    """One after the other, with connections that wait in between; the caution about public addresses is the same."""
    path = tmp_path / "keys.yaml"
    _, page, _ = run("keys", "new", "--keys", str(path), "--publishable")
    words = [sys.executable, "-m", "orchestrator", "hub", "serve", "--keys", str(path), "--json"]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        for _ in range(2):
            waiting = asyncio.ensure_future(
                connect(f"ws://127.0.0.1:{listening.getsockname()[1]}/v1?key={page.strip()}").__aenter__()
            )
            process = await asyncio.create_subprocess_exec(
                *words, "--listen", f"fd:{number}", stdout=asyncio.subprocess.PIPE, pass_fds=[number]
            )
            async with asyncio.timeout(20):
                client = await waiting
                assert '"welcome"' in str(await client.recv())
                process.send_signal(signal.SIGTERM)
                await client.wait_closed()
                assert client.close_code == 1001
                assert await process.wait() == 0
    with socket.create_server(("0.0.0.0", 0)) as public:
        code, _, error = run("hub", "serve", "--keys", str(path), "--listen", f"fd:{public.fileno()}")
        assert (code, "can be reached from other machines" in error) == (2, True)
    with socket.socket() as deaf:
        code, _, error = run("hub", "serve", "--keys", str(path), "--listen", f"fd:{deaf.fileno()}")
        assert (code, "does not listen" in error) == (2, True)


async def test_without_json_the_ready_line_is_for_people_and_a_signal_ends_it_with_0(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    run("keys", "new", "--keys", str(path))
    words = [sys.executable, "-m", "orchestrator", "hub", "serve", "--keys", str(path), "--listen", "localhost:0"]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        url = line.split()[5]
        assert line == f"the hub is ready at {url} (stop it with ctrl-c)\n"
        assert url.startswith("ws://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in stderr


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--max-connections=-1", "'-1' is not a whole number of at least 0"),
        ("--max-messages=many", "'many' is not a whole number of at least 0"),
        ("--connects-per-minute=1.5", "'1.5' is not a whole number of at least 0"),
        ("--ping-interval=0", "'0' is not a time in seconds, more than 0"),
        ("--ping-timeout=-1", "'-1' is not a time in seconds, more than 0"),
        ("--drain-window=nan", "'nan' is not a time in seconds, more than 0"),
        ("--drain-grace=soon", "'soon' is not a time in seconds, more than 0"),
    ],
)
def test_a_limit_that_is_none_is_refused_with_its_flag(tmp_path: Path, flag: str, sentence: str) -> None:
    code, out, error = run("hub", "serve", "--keys", str(tmp_path / "keys.yaml"), flag)
    assert (code, out) == (2, "")
    assert f"argument {flag.partition('=')[0]}: {sentence}" in error


@pytest.mark.one_hub("the limit is that of one hub")
async def test_limits_and_times_of_the_command_line_are_those_of_the_hub(tmp_path: Path) -> None:
    flags = (
        *("--max-connections=1", "--max-messages=7", "--connects-per-minute=9"),
        *("--ping-interval=0.2", "--ping-timeout=0.2", "--drain-window=0.1", "--drain-grace=0.1"),
    )
    async with asyncio.timeout(20), hub_process(tmp_path / "keys.yaml", "127.0.0.1:0", *flags) as hub:
        async with raw(hub.url) as silent, raw(hub.url) as late, ClientSession() as session:
            silent.send(upgrade(f"/v1?token={hub.token('a')}"))
            assert (await silent.head())[0] == 101
            assert (await silent.message())["type"] == "welcome"
            late.send(upgrade(f"/v1?token={hub.token('b')}"))
            assert (await late.head())[0] == 101
            assert await late.close_code() == 4010
            pair = key_file.load(hub.keys).secret_keys[0]
            async with session.get(
                f"{hub.http}/v1/usage", headers={"Authorization": f"Bearer {pair.id}:{pair.secret}"}
            ) as answer:
                plan = (await answer.json())["plan"]
            assert (plan["maxConcurrentConnections"], plan["maxMessagesPerPeriod"]) == (1, 7)
            assert (await silent.read())[0] == PING
            await silent.ended()
        assert await hub.stop() == 0


async def test_hazard_35_a_key_that_is_revoked_in_its_file_closes_its_connections_within_a_second(
    tmp_path: Path,
) -> None:
    async with asyncio.timeout(20), hub_process(tmp_path / "keys.yaml") as hub:
        token = hub.token("a")
        async with connect(f"{hub.url}/v1?token={token}") as client:
            await client.recv()
            assert run("keys", "revoke", "sk_id_test", "--keys", str(hub.keys))[0] == 0
            async with asyncio.timeout(1.0):
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001
        assert await hub.stop() == 0


async def test_a_key_file_that_cannot_be_read_changes_nothing_and_a_new_key_opens_connections(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    _, old, _ = run("keys", "new", "--keys", str(path))
    words = [sys.executable, "-m", "orchestrator", "hub", "serve", "--keys", str(path), "--listen", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *words, "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None

    async def said(words: bytes, log: asyncio.StreamReader = process.stderr) -> None:
        while words not in (line := await log.readline()):
            assert line, "the hub has ended"

    async def status(pair: str) -> int:
        headers = {"Authorization": f"Bearer {pair.strip()}"}
        async with session.get(f"{http}/v1/usage", headers=headers) as answer:
            return answer.status

    async with asyncio.timeout(20), ClientSession() as session:
        http = json.loads(await process.stdout.readline())["http"]
        whole = path.read_text(encoding="utf-8")
        path.write_text("[", encoding="utf-8")
        await said(b"the keys stay what they were")
        assert await status(old) == 200
        path.write_text(whole, encoding="utf-8")
        await said(b"the keys were read again")
        _, new, _ = run("keys", "new", "--keys", str(path))
        await said(b"the keys were read again")
        assert (await status(old), await status(new)) == (200, 200)
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
