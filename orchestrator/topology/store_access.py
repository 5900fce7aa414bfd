"""What one replica may do with the store: what follows from the file, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """The share that a replica has in the store; travels as JSON with what its process is told."""

    agent: str
    """The caller of what it stores, and the queue that it takes its tasks from."""
    claims: bool = False
    """It takes tasks from the queue of its agent, as the worker that its peer id names."""
    queues: tuple[str, ...] = ()
    """The agents for which it may store tasks; what became of them is told to its own agent alone."""
    teams: tuple[str, ...] = ()
    """The teams whose items it may hold leases on."""

    @property
    def needed(self) -> bool:
        return self.claims or bool(self.queues) or bool(self.teams)
