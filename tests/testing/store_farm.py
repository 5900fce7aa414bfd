"""Handlers of a farm whose pickers take their tasks from a store."""

from __future__ import annotations

from orchestrator import Task, Workers, agent, task


class Pick(Task[str]):
    prompt: str


@agent
class Boss:
    workers: Workers


@agent
class Picker:
    @task
    async def pick(self, job: Pick) -> str:
        return f"picked {job.prompt}"


@agent
class Other:
    pass
