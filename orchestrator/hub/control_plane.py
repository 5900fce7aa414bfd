"""What the control plane does for the holder of a secret key, and what it answers. No sockets, no clock."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from orchestrator.hub.intake import Refused
from orchestrator.hub.rest_requests import (
    DEFAULT_TOKEN_LIFE,
    Action,
    RestRefusal,
    check_channel,
    check_peer_id,
    invalid,
    read_publication,
    read_token_wish,
)
from orchestrator.protocol import codes
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.limits import MAX_URL
from orchestrator.protocol.tokens import allows, mint, read_claims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.hub.core import Hub
    from orchestrator.hub.rest_requests import Publication, Route, TokenWish
    from orchestrator.protocol.tokens import SecretKey

_MAX_TOKEN: Final = MAX_URL - len("/v1?token=")
"""Characters of a token that fits into the request that it opens a connection with."""


class ControlPlane:
    """Acts on one hub, and within the app of the key that asks."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def answer(self, key: SecretKey, route: Route, body: bytes, now: float, wall: float) -> bytes:
        """Do what was asked for and return the answer, as JSON; `wall` is the time in Unix seconds.

        Raises `RestRefusal`.
        """
        if route.action is Action.MINT:
            return _mint(key, read_token_wish(body), wall)
        if route.action is Action.USAGE:
            return self._usage(key)
        if route.action is Action.KICK:
            return self._kick(key, route.id, now)
        check_channel(route.id)
        if route.action is Action.PEERS:
            return self._peers(key, route.id)
        return self._publish(key, route.id, read_publication(body), now)

    def _peers(self, key: SecretKey, channel: str) -> bytes:
        _need(key, codes.Action.PRESENCE)
        _need_channels(key, [channel])
        peers = b",".join(self._hub.roster(key.app, channel))
        cluster = self._hub.cluster
        stale = b"" if cluster is None else b',"stale":%b' % (b"true" if cluster.stale else b"false")
        return b'{"channel":%b,"peers":[%b]%b}' % (encode_json(channel), peers, stale)

    def _publish(self, key: SecretKey, channel: str, message: Publication, now: float) -> bytes:
        self._hub.attempt(key.app)
        _need(key, codes.Action.PUBLISH)
        _need_channels(key, [channel])
        try:
            delivered = self._hub.broadcast(
                key.app, channel, message.sender, message.data, message.metadata, now, message.id
            )
        except Refused as refused:
            raise _refusal(refused) from None
        return encode_json({"channel": channel, "delivered": delivered})

    def _kick(self, key: SecretKey, peer_id: str, now: float) -> bytes:
        check_peer_id(peer_id)
        try:
            return encode_json({"peerId": peer_id, "closed": self._hub.kick(key.app, peer_id, now)})
        except Refused as refused:
            raise _refusal(refused) from None

    def _usage(self, key: SecretKey) -> bytes:
        app, settings, cluster = self._hub.app(key.app), self._hub.settings, self._hub.cluster
        used = [(0, 0, 0) if app is None else (app.connections, app.peak, app.messages)]
        if cluster is not None:
            used += cluster.usage(key.app)
        now, peak, messages = (sum(each) for each in zip(*used, strict=True))
        return encode_json(
            {
                "appId": key.app,
                "periodStartUnix": None,
                "periodEndUnix": None,
                "concurrentNow": now,
                "peakConcurrent": peak,
                "messagesUsed": messages,
                "overageMessages": 0,
                "overageConnections": 0,
                "plan": {
                    "name": None,
                    "maxConcurrentConnections": settings.max_connections,
                    "maxMessagesPerPeriod": settings.max_messages,
                    "overagesAllowed": False,
                    "overagesEnabled": False,
                },
            }
        )


def _refusal(refused: Refused) -> RestRefusal:
    away = refused.code is codes.ErrorCode.BACKEND_ERROR
    status = HTTPStatus.SERVICE_UNAVAILABLE if away else HTTPStatus.TOO_MANY_REQUESTS
    return RestRefusal(status, refused.code, refused.message)


def _mint(key: SecretKey, wish: TokenWish, wall: float) -> bytes:
    life = min(DEFAULT_TOKEN_LIFE, key.max_token_life) if wish.life is None else wish.life
    if life > key.max_token_life:
        raise invalid(f"the tokens of this key live at most {key.max_token_life} seconds")
    claims = read_claims({**wish.claims, "exp": int(wall) + life})
    _need_channels(key, claims.channels or ())
    for action in claims.permissions or ():
        _need(key, action)
    token = mint(key, claims)
    if len(token) > _MAX_TOKEN:
        raise invalid(f"these claims make a token of {len(token)} characters; a connection takes {_MAX_TOKEN}")
    return encode_json({"token": token, "expiresAt": claims.exp})


def _need(key: SecretKey, action: codes.Action) -> None:
    if action not in key.actions:
        raise RestRefusal(HTTPStatus.FORBIDDEN, "action_not_permitted", f"this key does not allow to {action}")


def _need_channels(key: SecretKey, channels: Sequence[str]) -> None:
    for channel in channels:
        if not allows(key.channels, channel):
            message = f"this key does not reach {channel!r}"
            raise RestRefusal(HTTPStatus.FORBIDDEN, "channel_not_authorized", message)
