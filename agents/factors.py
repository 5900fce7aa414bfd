"""Dispatch: a coordinator hands each task to exactly one worker and gets its reply."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic import BaseModel

from orchestrator import StreamTask, Task, Workers, agent, task


class Factors(BaseModel):
    number: int
    primes: list[int]


class Factor(Task[Factors]):
    number: int


class FactorAll(StreamTask[str]):
    """Whole numbers, with spaces between them; the answer is a line for each, in their order."""

    prompt: str


@agent
class Boss:
    workers: Workers

    @task
    async def factor_all(self, ask: FactorAll) -> AsyncIterator[str]:
        numbers = [Factor(number=int(word)) for word in ask.prompt.split()]
        async for found in self.workers.map(numbers, ordered=True):
            yield f"{found.number} = {' * '.join(map(str, found.primes))}\n"


@agent
class Helper:
    @task(idempotent=True)
    def factor(self, job: Factor) -> Factors:
        """Divide by every candidate in turn; a plain `def` runs in a thread, so a large number holds nobody up."""
        left, primes, candidate = job.number, [], 2
        while candidate * candidate <= left:
            while left % candidate == 0:
                left //= candidate
                primes.append(candidate)
            candidate += 1
        return Factors(number=job.number, primes=[*primes, left] if left > 1 or not primes else primes)
