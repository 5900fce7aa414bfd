"""The stock Python SDK takes its turn in `bench/client_throughput.py`; run by the SDK's own environment."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import metered_realtime as sdk  # type: ignore[import-not-found]  # it lives in an environment of its own

from bench.lines import order, say
from bench.turn import Handler, Spent, publish_all


def client_of(url: str, token: str) -> Any:
    async def provide() -> str:
        return token

    return sdk.SignallingClient(url=url, token_provider=provide)


async def receive(asked: dict[str, Any]) -> Spent:
    handler = Handler(asked["messages"])
    client = client_of(asked["replay"], "a.b.c")
    client.on(sdk.Message, lambda event: handler(event.data))
    await client.connect()
    spent = Spent()
    spent.start()
    await client.subscribe("bench")
    await handler.done.wait()
    spent.stop()
    await client.close()
    return spent


async def turn() -> None:
    asked = order()
    received = await receive(asked)
    say(receive={**received.over(asked["messages"]), "cuts": 0})
    sys.stdin.readline()
    async with client_of(asked["hub"], asked["token"]) as client:
        published = await publish_all(client.publish, asked["publishes"], asked["window"])
    say(publish=published.over(asked["publishes"]))


if __name__ == "__main__":
    asyncio.run(turn())
