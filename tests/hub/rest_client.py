"""A holder of a secret key who talks to the control plane."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import ClientSession
from yarl import URL

from tests.hub.sockets import KEY, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.server import Server
    from orchestrator.hub.settings import Settings
    from orchestrator.protocol.tokens import SecretKey


class Reply(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]
    raw: bytes

    @property
    def error(self) -> tuple[int, str]:
        """The status and the code of a refusal, which has both of its fields and no others."""
        assert set(self.body) == {"error", "message"}, self
        assert self.body["message"], self
        return self.status, self.body["error"]


class Api:
    def __init__(self, hub: Server, session: ClientSession) -> None:
        self.hub = hub
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: SecretKey | None = KEY,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send a request; the path goes out as it is, and a body of bytes too."""
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key.id}:{key.secret}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = URL(self.hub.http_url + path, encoded=True)
        async with self._session.request(method, url, data=data, headers=sent, allow_redirects=False) as answer:
            raw = await answer.read()
            is_json = answer.content_type == "application/json"
            return Reply(answer.status, json.loads(raw) if is_json and raw else None, dict(answer.headers), raw)

    async def mint(self, peer_id: str = "a", key: SecretKey = KEY, **fields: Any) -> Reply:
        return await self.ask("POST", "/v1/tokens", {"peerId": peer_id, **fields}, key)

    async def publish(self, path: str, key: SecretKey = KEY, **fields: Any) -> Reply:
        return await self.ask("POST", f"/v1/channels/{path}/publish", fields, key)

    async def peers(self, path: str, key: SecretKey = KEY) -> Reply:
        return await self.ask("GET", f"/v1/channels/{path}/peers", key=key)

    async def kick(self, path: str, key: SecretKey = KEY) -> Reply:
        return await self.ask("DELETE", f"/v1/peers/{path}", key=key)

    async def usage(self, key: SecretKey = KEY) -> Any:
        reply = await self.ask("GET", "/v1/usage", key=key)
        assert reply.status == 200
        return reply.body


@asynccontextmanager
async def control_plane(settings: Settings | None = None, keys: KeyRing | None = None) -> AsyncIterator[Api]:
    async with server(settings, keys=keys) as hub, ClientSession(auto_decompress=False) as session:
        yield Api(hub, session)
