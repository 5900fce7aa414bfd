"""Hazard 45: a hub process that logs all it can, and credentials through every failure there is: none of it shows."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.hub import key_file
from orchestrator.hub.key_file import PublishableEntry, SecretEntry
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from tests.hub.sockets import CONTINUATION, PING, TEXT, frame, raw, upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = (
    "import logging, sys\n"
    "logging.basicConfig(level=logging.DEBUG, format='%(asctime)s %(name)s %(levelname)s %(message)s')\n"
    "logging.getLogger('asyncio').debug('and now the hub')\n"
    "from orchestrator.cli.main import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
SECRET = "sk_secret_" + "canarykey" * 4
PAGE = "pk_live_" + "canarypage" * 3
KEY = SecretKey("sk_id_canary", SECRET)
PAIR = f"{KEY.id}:{SECRET}"
QUIET = 0.3
"""Seconds after which no more is to be expected."""
FRAMES = (
    frame(TEXT, b"nonsense"),
    frame(TEXT, b'{"type":"send","to":"nobody","data":1,"requestId":"1"}'),
    frame(TEXT, b"\xff"),
    frame(TEXT, b"x" * 80_000),
    frame(PING, b"x" * 126),
    frame(CONTINUATION, b"x"),
    frame(TEXT, b"x", reserved=7),
    frame(TEXT, b"x", masked=False),
    frame(TEXT, b"x" * 500)[:100],
    frame(0x8, b"\x03\xe8"),
    frame(0x8, b"\x00\x00"),
    b"",
)


def token(**claims: int) -> str:
    fields = {"exp": int(time.time()) + 600, **claims}
    return mint(KEY, Claims(sub="canary-sub", metadata={"iceServers": "canary-metadata"}, **fields))  # type: ignore[arg-type]  # they are numbers all


def targets(good: str) -> Iterator[str]:
    """Yield what to ask a WebSocket for: everything that is refused, and the good ones too."""
    expired, ends_soon = token(exp=int(time.time()) - 5), token(exp=int(time.time()) + 1)
    far = token(exp=int(time.time()) + 10**9)
    for bad in (good + "x", good[:-4], f".{good}", good.replace(".", ".."), expired, far, SECRET, PAIR, f"{good}%0A"):
        yield f"/v1?token={bad}"
    yield from (f"/v1?token={good}", f"/v1?token={ends_soon}", f"/v1?key={PAGE}")
    yield from (
        f"/v1?key={PAGE}x",
        f"/v1?key={SECRET}",
        f"/v1?token={good}&key={PAGE}",
        f"/v1?token={good}&token={good}",
    )
    yield from (f"/v2?token={good}", f"/v1/{good}", f"/v1?token={good}&pad={'x' * 25_000}", f"/{good}?{PAIR}")


def requests(good: str) -> Iterator[bytes]:
    """Yield plain HTTP, most of it wrong, with credentials wherever there is room for them."""
    for target in (
        "/v1/usage",
        "/v1/nothing",
        f"/v1/{PAIR}",
        f"/v1/usage?key={PAIR}",
        f"/healthz?token={good}",
        "/readyz",
    ):
        for authorization in (PAIR, f"{PAIR}x", f"{KEY.id}:", good, f"{PAIR}\x00"):
            yield f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {authorization}\r\n\r\n".encode()
    for body in (PAIR, json.dumps({PAIR: PAIR}), json.dumps({"peerId": 7, "metadata": PAIR}), "x" * 40_000):
        for path in ("/v1/tokens", "/v1/channels/x/publish", f"/v1/channels/{PAIR}/publish"):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {PAIR}\r\nContent-Length: {len(body)}\r\n"
            yield f"{head}\r\n{body}".encode()
    yield f"{PAIR} /v1 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    yield f"GET /v1?token={good} HTTP/9.9\r\nHost: x\r\n\r\n".encode()
    yield f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization {PAIR}\r\n\r\n".encode()
    yield f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Length: {PAIR}\r\n\r\n".encode()
    yield f"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{PAIR}\r\n".encode()
    yield b"\x16\x03\x01" + good.encode()


async def asked(url: str, *sent: bytes, patience: float = 2.0) -> bytes:
    """Return what is answered, until the other side ends or says no more; `patience` is for the first word."""
    answers, clock = b"", asyncio.get_running_loop().time
    async with raw(url) as connection:
        for data in sent:
            connection.send(data)
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(QUIET if answers else patience) as limit:
                    while more := await connection.reader.read(65_536):
                        answers += more
                        limit.reschedule(clock() + QUIET)
    return answers


async def test_hazard_45_a_hub_at_its_most_talkative_shows_no_credential_through_any_failure(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    with key_file.changed(keys) as file:
        file.secret_keys.append(SecretEntry(KEY.id, SECRET))
        file.publishable_keys.append(PublishableEntry("pk_id_canary", PAGE))
    words = ["hub", "serve", "--keys", str(keys), "--listen", "127.0.0.1:0", "--json", "--drain-grace", "0.2"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-c", MAIN, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    written = b""
    async with asyncio.timeout(30):
        ready = await process.stdout.readline()
        url, good = json.loads(ready)["url"], token()
        talks = [asked(url, upgrade(target)) for target in targets(good)]
        talks += [asked(url, upgrade(f"/v1?token={good}"), sent) for sent in FRAMES]
        talks += [asked(url, request) for request in requests(good)]
        unfinished = upgrade(f"/v1?token={good}")[:-2], f"GET /v1?token={good}".encode()
        talks += [asked(url, request, patience=QUIET) for request in unfinished]
        answers = b"".join(await asyncio.gather(*talks))
        whole = keys.read_text(encoding="utf-8")
        for broken in (whole.replace(SECRET, SECRET[:25]), f"{whole}more: {SECRET}\n", f"'{SECRET}"):
            keys.write_text(broken, encoding="utf-8")
            while b"the keys stay what they were" not in (line := await process.stderr.readline()):
                assert line, "the hub has ended"
                written += line
            written += line
        command = Path(f"/proc/{process.pid}/cmdline")
        told = b"".join(path.read_bytes() for path in (command, command.with_name("environ")) if path.exists())
        process.send_signal(signal.SIGABRT)  # what Python's own fault handler says of a crash
        more, last = await process.communicate()
    ready, written = ready + more, written + last
    for kind in (b" 401 ", b" 400 ", b" 404 ", b" 413 ", b" 414 ", b"\x0f\xa1", b"\x0f\xa2", b'"welcome"'):
        assert kind in answers, kind
    assert b" DEBUG " in written and b"Fatal Python error" in written
    parts = [good, good[:60], *good.split(".")[1:], SECRET, SECRET[:25], PAGE, PAGE[:20]]
    for part in map(str.encode, parts):
        for shown in (ready, written, answers, told):
            assert part not in shown, part
    assert b"canary-metadata" not in written
