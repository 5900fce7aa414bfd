"""A program on the stock Python SDK that does what it is told: run by the SDK's own interpreter, not by ours.

Its first input line is ``{"url", "api_key" or "token"}``; each further one a request. It prints one JSON line per
event and per answer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from typing import Any

import metered_realtime as sdk  # type: ignore[import-not-found]  # it lives in an environment of its own


def say(what: str, **fields: Any) -> None:
    print(json.dumps({"what": what, **fields}), flush=True)


def show(event: Any) -> None:
    say(type(event).__name__, **dataclasses.asdict(event))


async def answer(client: Any, request: dict[str, Any]) -> None:
    try:
        if request["do"] == "subscribe":
            options = sdk.SubscribeOptions(include_sender_metadata=request.get("metadata", False))
            await client.subscribe(request["channel"], options)
        elif request["do"] == "publish":
            await client.publish(request["channel"], request["data"])
        elif request["do"] == "send":
            await client.send(request["to"], request["data"])
        else:
            await client.unsubscribe(request["channel"])
    except sdk.MeteredRealtimeError as error:
        say("refused", kind=type(error).__name__, code=getattr(error, "code", None))
    else:
        say("done")


async def main() -> None:
    lines = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    setup = json.loads(await lines.readline())

    async def token() -> str:
        return str(setup["token"])

    credential = {"api_key": setup["api_key"]} if "api_key" in setup else {"token_provider": token}
    client = sdk.SignallingClient(url=setup["url"], **credential)
    for kind in (
        sdk.Connected,
        sdk.Disconnected,
        sdk.Message,
        sdk.Direct,
        sdk.Presence,
        sdk.ServerError,
        sdk.GoingAway,
    ):
        client.on(kind, show)
    try:
        await client.connect()
    except sdk.SignallingConnectError as error:
        say("failed", code=error.close_code)
        return
    while line := await lines.readline():
        await answer(client, json.loads(line))
    await client.close()


asyncio.run(main())
