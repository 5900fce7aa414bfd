"""Stream: an answer that is read while it is made."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Final

from orchestrator import StreamTask, agent, task

WHO: Final = ("a heron", "the ferryman", "an old clockmaker", "two sisters", "the night train")
DID: Final = ("crossed", "waited for", "remembered", "repaired", "lost sight of")
WHAT: Final = ("the river", "the last light", "a promise", "the bridge", "the smallest bell in town")


class Tell(StreamTask[str]):
    """The prompt is the title; the same title always makes the same tale."""

    prompt: str
    sentences: int = 12


@agent
class Teller:
    @task
    async def tell(self, ask: Tell) -> AsyncIterator[str]:
        dice = random.Random(ask.prompt)  # noqa: S311 - a tale, not a secret
        yield f"{ask.prompt}\n\n"
        for _ in range(ask.sentences):
            sentence = f"{dice.choice(WHO)} {dice.choice(DID)} {dice.choice(WHAT)}"
            first, *rest = sentence.split(" ")
            yield first.capitalize()
            for word in rest:
                yield f" {word}"
            yield ".\n"
