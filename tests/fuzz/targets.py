"""What is fuzzed: each target takes any bytes, and raises `AssertionError` when something is not as it must be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from orchestrator.hub.admission import admit
from orchestrator.hub.core import Hub
from orchestrator.hub.intake import Refused, read
from orchestrator.hub.keys import KeyRing, PublishableKey
from orchestrator.hub.outbox import Outbox
from orchestrator.hub.settings import Settings
from orchestrator.protocol.frames import Ping, Publish, Send
from orchestrator.protocol.globs import covers, matches
from orchestrator.protocol.tokens import SecretKey, TokenRefused, compact_size, mint, verify
from tests.fuzz.frame_reference import Fault, NotUtf8, Request, reading, strict
from tests.fuzz.token_reference import verdict
from tests.protocol.glob_oracle import consumes, letters, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.hub.connections import Connection
    from orchestrator.protocol.frames import ClientFrame

NOW = 1_800_000_000
KEY = SecretKey("sk_id_fuzz", "sk_secret_" + "f" * 32)
PAGE = PublishableKey("pk_live_" + "f" * 24)
RING = KeyRing([KEY], [PAGE])
HEADER = b'{"alg":"HS256","typ":"JWT","kid":"sk_id_fuzz"}'


# -- frames


def frames(data: bytes) -> None:
    """The lines of `data` are the messages of one connection, while another one listens to everything."""
    messages = data.split(b"\n")[:32]
    for message in messages:
        expected, got = reading(message), _read(message)
        assert got == expected, (got, expected)
    _converse(messages)


def _read(message: bytes) -> Request | Fault | NotUtf8:
    try:
        frame = read(message)
    except UnicodeDecodeError:
        return NotUtf8()
    except Refused as refused:
        return Fault(refused.code, refused.request_id)
    if isinstance(frame, Publish | Send):
        assert bytes(frame.data) in message, "data is relayed as the bytes that came"
    return _request(frame)


def _request(frame: ClientFrame) -> Request:
    kind = type(frame).__name__.lower()
    if isinstance(frame, Ping):
        return Request(kind, None, frame.request_id)
    if isinstance(frame, Send):
        return Request(kind, frame.to, frame.request_id, strict(bytes(frame.data).decode()))
    if isinstance(frame, Publish):
        return Request(kind, frame.channel, frame.request_id, strict(bytes(frame.data).decode()))
    return Request(kind, frame.channel, frame.request_id, stamped=getattr(frame, "include_sender_metadata", False))


class _Everything:
    """One end of a connection, which has room for all that comes."""

    def __init__(self, hub: Hub, sub: str) -> None:
        identity = admit(f"token={_TOKENS[sub]}", None, RING, NOW, lambda: "")
        self.hub = hub
        self.outbox: Outbox = hub.outbox()
        self.outbox.owner = self
        connection = hub.connect(identity, self.outbox, 0.0, NOW)
        assert connection is not None
        self.connection: Connection = connection
        self.got: list[dict[str, Any]] = []

    def flush(self, now: float) -> None:
        data = self.outbox.take(now)
        self.outbox.sent(now)
        while data:
            size, start = data[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            if data[0] == 0x81:
                assert start + size < 1_048_576
                self.got.append(strict(data[start : start + size].decode()))
            data = data[start + size :]


def _converse(messages: list[bytes]) -> None:
    faults: list[Exception] = []
    hub = Hub(Settings(snapshot_gap=0.0), faults.append)
    speaker, listener = _Everything(hub, "a"), _Everything(hub, "b")
    hub.receive(listener.connection, b'{"type":"subscribe","channel":"**"}', 0.0)
    asked: list[str] = []
    for number, message in enumerate(messages):
        if not speaker.connection.open:
            break
        hub.receive(speaker.connection, message, number * 0.1)
        hub.tick(number * 0.1)
        for outbox in hub.turn.dirty:
            outbox.cleaned()
            assert isinstance(outbox.owner, _Everything)
            outbox.owner.flush(number * 0.1)
        hub.turn.dirty.clear()
        heard = reading(message)
        if not isinstance(heard, NotUtf8) and heard.request_id is not None:
            asked.append(heard.request_id)
    assert faults == []
    assert listener.connection.open
    kinds = ("ack", "error", "pong")
    answered = [frame["requestId"] for frame in speaker.got if frame["type"] in kinds and "requestId" in frame]
    assert answered == asked, "each request with an id is answered once, in order"
    assert all(frame["from"] == "a" for frame in listener.got if frame["type"] in ("message", "direct"))


# -- tokens


def tokens(data: bytes) -> None:
    """The first byte says what the rest is: a query, the claims of a well signed token, or its header and claims."""
    kind, rest = data[:1], data[1:]
    if kind == b"q":
        _admit(rest.decode("latin-1"))
        return
    header, claims = (HEADER, rest) if kind == b"c" else (rest.partition(b"\n")[0], rest.partition(b"\n")[2])
    token = _signed(header, claims)
    expected = verdict(header, claims, KEY.id, NOW) if header and claims else 4001
    try:
        _, said = verify(token, {KEY.id: KEY}, NOW)
    except TokenRefused as refused:
        assert refused.code == expected, (int(refused.code), expected)
    else:
        assert expected is None, expected
        again = verify(mint(KEY, said), {KEY.id: KEY}, NOW)
        assert again == (KEY, said), "what was read can be minted, and is read as the same"
    _admit(f"token={token}")


def _admit(query: str) -> None:
    """Only what is signed, or the publishable key itself, gets in; nothing but a refusal comes out otherwise."""
    try:
        identity = admit(query, None, RING, NOW, lambda: "page")
    except TokenRefused as refused:
        assert refused.code in (4001, 4002, 4003)
        return
    assert 0 < len(identity.peer_id) <= 128
    for shown, most in ((identity.metadata, 8_192), (identity.peer_metadata, 4_096)):
        assert shown is None or compact_size(json.loads(shown)) <= most


def _signed(header: bytes, claims: bytes) -> str:
    body = f"{_b64(header)}.{_b64(claims)}"
    return f"{body}.{_b64(hmac.new(KEY.secret.encode(), body.encode(), hashlib.sha256).digest())}"


def _b64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


_TOKENS = {sub: _signed(HEADER, json.dumps({"sub": sub, "exp": NOW + 600}).encode()) for sub in ("a", "b")}


# -- globs


def globs(data: bytes) -> None:
    """Two patterns and a name, each on its line."""
    pattern, other, name = (part.decode("utf-8", "replace")[:256] for part in (data + b"\n\n").split(b"\n")[:3])
    assert matches(pattern, name) == consumes(words(pattern), letters(name))
    covered = covers(pattern, other)
    assert covered == consumes(words(pattern), words(other))
    if covered and matches(other, name):
        assert matches(pattern, name)


TARGETS: dict[str, Callable[[bytes], None]] = {"frames": frames, "tokens": tokens, "globs": globs}
