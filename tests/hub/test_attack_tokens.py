"""Hazards 29 to 33, 44 and 45: of hundreds of credentials that attackers bring, none opens anything or is repeated."""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING

import pytest

from orchestrator.hub.admission import admit
from orchestrator.hub.keys import KeyProblem, KeyRing, PublishableKey
from orchestrator.protocol.codes import closing
from orchestrator.protocol.limits import MAX_URL
from orchestrator.protocol.tokens import SecretKey, TokenRefused
from tests.hub.attack_tokens import BOUND, CANARY, KEY, NARROW, PAGE, RING, Attack, Forge, attacks, by_token
from tests.hub.rig import WALL, Rig
from tests.hub.sockets import CLOSE, on_both_loops, raw, server, upgrade

if TYPE_CHECKING:
    from collections.abc import Iterable

ATTACKS = attacks(int(WALL))
SECRETS = (*(key.secret for key in RING.secret.values()), CANARY)


def code_of(attack: Attack) -> tuple[int, str]:
    """Return the close code of an attack, and all that its refusal shows."""
    with pytest.raises(TokenRefused) as refused:
        admit(attack.query, attack.origin, RING, WALL, lambda: "somebody")
    return refused.value.code, "".join(traceback.format_exception(refused.value)) + repr(refused.value.args)


def pieces(attack: Attack) -> Iterable[str]:
    """Yield the parts of a credential that are long enough to be recognised."""
    for text in attack.query.replace("&", "=").replace(".", "=").replace("%2E", "=").split("="):
        if len(text) >= 16:
            yield text[:200]


@pytest.mark.parametrize("name", ATTACKS)
def test_5_29_30_31_32_an_attack_is_refused_with_its_code_and_none_of_it_is_shown(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    attack = ATTACKS[name]
    code, shown = code_of(attack)
    assert code == attack.code
    assert not [secret for secret in (*SECRETS, *pieces(attack)) if secret in shown]
    assert caplog.records == []


def test_there_are_more_than_three_hundred_attacks_all_different() -> None:
    different = {(attack.query, attack.origin) for attack in ATTACKS.values()}
    assert len(different) == len(ATTACKS) >= 300


def test_what_the_attacks_start_from_does_connect() -> None:
    """Otherwise they would be refused for what they were made of, and not for what was done to it."""
    forge = Forge(int(WALL))
    for attack in (
        by_token(forge.good),
        forge.by_claims(key=NARROW, channels=["team/1", "lit*", "**"]),
        forge.by_header(typ=...),
        Attack(f"key={PAGE.key}"),
        Attack(f"key={BOUND.key}", origin="https://app.example"),
    ):
        assert admit(attack.query, attack.origin, RING, WALL, lambda: "somebody").app == "default"


def test_a_hub_full_of_attacks_still_has_its_own_peers_and_no_others() -> None:
    rig = Rig(None, *RING.secret.values(), *RING.publishable.values())
    rig.keys = RING
    forge = Forge(int(rig.wall))
    peer = rig.connect_by(by_token(forge.good).query)
    for attack in attacks(int(rig.wall)).values():
        with pytest.raises(TokenRefused):
            rig.connect_by(attack.query, attack.origin)
    assert [held.peer_id for held in rig.hub.connections()] == [f"{CANARY}-sub"]
    assert [frame["type"] for frame in peer.all()] == ["welcome"]
    assert rig.faults == []


@on_both_loops
async def test_5_45_over_a_socket_an_attack_gets_its_close_frame_alone_and_none_of_it_is_logged() -> None:
    lines: list[str] = []
    logger = logging.getLogger()
    recorder = Recorder(lines)
    before = logger.level
    logger.addHandler(recorder)
    logger.setLevel(logging.DEBUG)
    try:
        async with server(keys=RING) as hub:
            corpus = attacks(int(time.time()))
            for name, attack in corpus.items():
                assert await answer(hub.url, attack) == expected(attack), name
            assert list(hub.hub.connections()) == []
    finally:
        logger.removeHandler(recorder)
        logger.setLevel(before)
    logged = "\n".join(lines)
    assert not [secret for secret in SECRETS if secret in logged]
    assert not [piece for attack in corpus.values() for piece in pieces(attack) if piece in logged]


class Recorder(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


Answer = tuple[int, int, bytes]


async def answer(url: str, attack: Attack) -> Answer:
    """Return the HTTP status, and the opcode and payload of the first frame, if there is a WebSocket."""
    origin = [] if attack.origin is None else [f"Origin: {attack.origin}"]
    async with raw(url) as connection:
        connection.send(upgrade(f"/v1?{attack.query}", *origin))
        status, head = await connection.head()
        assert not [piece for piece in (*SECRETS, *pieces(attack)) if piece.encode() in head]
        if status != 101:
            return status, 0, b""
        return status, *await connection.read()


def expected(attack: Attack) -> Answer:
    if len(f"/v1?{attack.query}") > MAX_URL:
        return 414, 0, b""
    return 101, CLOSE, int(attack.code).to_bytes(2, "big") + closing(attack.code).meaning.encode()


@pytest.mark.parametrize("secret", ["", "secret", "sk_secret_", "x" * 31, "ü" * 15, "sk_secret_" + "k" * 21])
def test_33_a_hub_does_not_start_with_a_weak_secret(secret: str) -> None:
    with pytest.raises(KeyProblem, match="at least 32 are needed") as refused:
        KeyRing([KEY, SecretKey("sk_id_weak", secret)])
    assert not secret or f"{secret!r}" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "pk_live_", "pk_live_1234567"])
def test_33_a_hub_does_not_start_with_a_page_key_that_could_be_guessed(key: str) -> None:
    with pytest.raises(KeyProblem, match="could be guessed"):
        KeyRing([], [PublishableKey(key)])
