"""Peers on the stock Python SDK that do what they are told; `tests/interop/programs.py` describes the lines.

Run by the interpreter of the SDK's own environment, not by ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import metered_realtime as sdk  # type: ignore[import-not-found]  # it lives in an environment of its own

LONGEST_BRIEF = 100


class FakeConnection:
    """What MeteredPeer asks of an RTCPeerConnection, without any media."""

    connectionState = "new"  # noqa: N815  # the names are those of the interface that it stands for
    remoteDescription = localDescription = None  # noqa: N815

    def __init__(self, _ice_servers: object) -> None:
        pass

    def on(self, _event: str, handler: Any) -> Any:
        return handler

    def getSenders(self) -> list[Any]:  # noqa: N802
        return []

    def getTransceivers(self) -> list[Any]:  # noqa: N802
        return []

    async def setRemoteDescription(self, description: Any) -> None:  # noqa: N802
        self.remoteDescription = description

    async def setLocalDescription(self, description: Any) -> None:  # noqa: N802
        self.localDescription = description

    async def createOffer(self) -> Any:  # noqa: N802
        return description("offer", "")

    async def createAnswer(self) -> Any:  # noqa: N802
        return description("answer", "")

    async def addIceCandidate(self, _candidate: Any) -> None:  # noqa: N802
        pass

    async def close(self) -> None:
        self.connectionState = "closed"


class Description:
    def __init__(self, kind: str, sdp: str) -> None:
        self.type, self.sdp = kind, sdp


def description(kind: str, sdp: str) -> Description:
    return Description(kind, sdp)


class Peers:
    def __init__(self) -> None:
        self._peers: dict[str, Any] = {}

    async def carry_out(self, request: dict[str, Any]) -> None:
        do, name = request["do"], request["peer"]
        peer: Any = self._peers.get(name)
        if do == "open":
            self._peers[name] = peer = sdk.SignallingClient(**options(request))
            watch_client(peer, name, request["brief"])
            await peer.connect()
        elif do == "join":
            self._peers[name] = peer = sdk.MeteredPeer(
                **options(request), _pc_factory=FakeConnection, _sd_factory=description
            )
            watch_peer(peer, name, request["brief"])
            await peer.join(request["channel"])
        elif do == "subscribe":
            await peer.subscribe(request["channel"], sdk.SubscribeOptions(include_sender_metadata=request["metadata"]))
        elif do == "unsubscribe":
            await peer.unsubscribe(request["channel"])
        elif do == "publish":
            await peer.publish(request["channel"], request["data"])
        elif do == "send":
            await peer.send(request["to"], request["data"])
        elif do == "broadcast":
            await peer.send(request["data"])
        elif do == "send_to":
            await peer.send_to(request["to"], request["data"])
        else:
            assert do == "close"
            del self._peers[name]
            await peer.close()

    async def answer(self, request: dict[str, Any]) -> None:
        refused: int | str | None = None
        try:
            await self.carry_out(request)
        except sdk.MeteredRealtimeError as error:
            refused = getattr(error, "close_code", None) or getattr(error, "code", None) or type(error).__name__
        say(id=request["id"], refused=refused)

    async def close(self) -> None:
        await asyncio.gather(*(peer.close() for peer in self._peers.values()))


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def options(request: dict[str, Any]) -> dict[str, Any]:
    async def token() -> str:
        return str(request["token"])

    credential = {"api_key": request["api_key"]} if "api_key" in request else {"token_provider": token}
    return {"url": request["url"], **credential}


def shown(data: Any, brief: bool) -> Any:
    return data if not brief or (isinstance(data, str) and len(data) <= LONGEST_BRIEF) else None


def watch_client(client: Any, peer: str, brief: bool) -> None:
    def on_connected(event: Any) -> None:
        say(
            peer=peer,
            event="connected",
            peer_id=event.peer_id,
            resumed=event.is_reconnect,
            expires_at=event.expires_at,
            max_message_size=event.max_message_size,
        )

    def on_disconnected(event: Any) -> None:
        say(peer=peer, event="disconnected", code=event.code, will_reconnect=event.will_reconnect)

    def on_message(event: Any) -> None:
        say(
            peer=peer,
            event="message",
            channel=event.channel,
            **{"from": event.sender_peer_id},
            data=shown(event.data, brief),
            metadata=event.sender_metadata,
        )

    def on_direct(event: Any) -> None:
        say(
            peer=peer,
            event="direct",
            **{"from": event.sender_peer_id},
            data=shown(event.data, brief),
            metadata=event.sender_metadata,
        )

    def on_presence(event: Any) -> None:
        joined = [{"peer_id": entry.peer_id, "metadata": entry.metadata} for entry in event.joined]
        left = [entry.peer_id for entry in event.left]
        say(peer=peer, event="presence", channel=event.channel, joined=joined, left=left)

    client.on(sdk.Connected, on_connected)
    client.on(sdk.Disconnected, on_disconnected)
    client.on(sdk.GoingAway, lambda event: say(peer=peer, event="going_away", retry_after_ms=event.retry_after_ms))
    client.on(sdk.ServerError, lambda event: say(peer=peer, event="server_error", code=event.code))
    client.on(sdk.Message, on_message)
    client.on(sdk.Direct, on_direct)
    client.on(sdk.Presence, on_presence)


def watch_peer(room: Any, peer: str, brief: bool) -> None:
    def on_joined(event: Any) -> None:
        say(peer=peer, event="peer_joined", peer_id=event.peer.id, metadata=event.peer.metadata)

    def on_data(event: Any) -> None:
        sender = {"from": event.sender_peer_id}
        say(peer=peer, event="data", **sender, kind=event.kind, data=shown(event.data, brief))

    room.on(sdk.StateChange, lambda event: say(peer=peer, event="state", to=event.to))
    room.on(sdk.PeerJoined, on_joined)
    room.on(sdk.PeerLeft, lambda event: say(peer=peer, event="peer_left", peer_id=event.peer.id))
    room.on(sdk.FatalError, lambda event: say(peer=peer, event="fatal", reason=type(event.err).__name__))
    room.on(sdk.Data, on_data)


async def main() -> None:
    lines = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    peers = Peers()
    async with asyncio.TaskGroup() as requests:
        while line := await lines.readline():
            requests.create_task(peers.answer(json.loads(line)))
    await peers.close()


asyncio.run(main())
