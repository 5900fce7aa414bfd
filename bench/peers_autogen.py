"""The other side of `bench/peers.py`: autogen-core's runtime over gRPC; run by an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import uvloop
from autogen_core import (  # type: ignore[import-not-found]  # it lives in an environment of its own
    AgentId,
    MessageContext,
    RoutedAgent,
    TopicId,
    TypeSubscription,
    message_handler,
    try_get_known_serializers_for_type,
)
from autogen_ext.runtimes.grpc import (  # type: ignore[import-not-found]
    GrpcWorkerAgentRuntime,
    GrpcWorkerAgentRuntimeHost,
)

from bench.lines import order, say
from bench.peers_turn import TEXT, ask_many, words

ECHO = AgentId("echo", "default")
TOPIC = TopicId("tokens", "default")


@dataclass
class Echo:
    number: int
    text: str


@dataclass
class Token:
    number: int
    text: str


class Echoes(RoutedAgent):  # type: ignore[misc]
    """Answers each message with itself."""

    def __init__(self) -> None:
        super().__init__("echo")

    @message_handler  # type: ignore[untyped-decorator]
    async def echo(self, message: Echo, ctx: MessageContext) -> Echo:  # noqa: ARG002 - looked for by its name
        return message


class Ear(RoutedAgent):  # type: ignore[misc]
    """Takes tokens, and tells how long all of them took, from the first to the last."""

    def __init__(self) -> None:
        super().__init__("ear")
        self._heard: list[str] = []
        self._began = 0.0

    @message_handler  # type: ignore[untyped-decorator]
    async def hear(self, message: Token, ctx: MessageContext) -> None:  # noqa: ARG002
        if not self._heard:
            self._began = time.perf_counter()
        self._heard.append(message.text)
        if len(self._heard) == message.number:
            say(seconds=time.perf_counter() - self._began, wrong=int(self._heard != words(message.number)))
            self._heard = []


async def host(address: str) -> None:
    serving = GrpcWorkerAgentRuntimeHost(address)
    serving.start()
    say(pid=os.getpid())
    await _told()
    await serving.stop(grace=0)


async def answer(address: str) -> None:
    runtime = GrpcWorkerAgentRuntime(address)
    await runtime.start()
    await Echoes.register(runtime, "echo", Echoes)
    await Ear.register(runtime, "ear", Ear)
    await runtime.add_subscription(TypeSubscription("tokens", "ear"))
    say(pid=os.getpid())
    await _told()
    await runtime.stop()


async def ask(address: str) -> None:
    runtime = GrpcWorkerAgentRuntime(address)
    for message in (Echo, Token):
        runtime.add_message_serializer(try_get_known_serializers_for_type(message))
    await runtime.start()
    say(pid=os.getpid())

    async def one(number: int) -> int:
        reply = await runtime.send_message(Echo(number, TEXT), ECHO)
        return int(reply.number)

    while (turn := await _told()) is not None:
        if "tokens" in turn:
            for word in words(turn["tokens"]):
                await runtime.publish_message(Token(turn["tokens"], word), TOPIC)
            say()
        else:
            say(**await ask_many(one, turn["count"], turn["window"]))
    await runtime.stop()


async def _told() -> dict[str, Any] | None:
    """Return the next turn to take; `None` when there is none any more."""
    line = await asyncio.to_thread(sys.stdin.readline)
    return dict(json.loads(line)) if line else None


def main() -> None:
    asked = order()
    role = {"host": host, "answer": answer, "ask": ask}[asked["role"]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if asked["loop"] == "uvloop" else None) as runner:
        runner.run(role(asked["address"]))


if __name__ == "__main__":
    main()
