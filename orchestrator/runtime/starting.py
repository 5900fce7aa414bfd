"""What a run needs of whatever starts its children, be they processes or tasks of its own event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.runtime.control import ControlChannel, ToParent
    from orchestrator.runtime.nursery import Program
    from orchestrator.runtime.process import Hear


class Child(Protocol):
    """One child from its start to its end."""

    @property
    def pid(self) -> int: ...

    @property
    def control(self) -> ControlChannel[ToParent]: ...

    @property
    def lent(self) -> int:
        """The number under which it finds the first descriptor that it is lent; further ones follow."""
        ...

    @property
    def own_loop(self) -> bool:
        """Whether its event loop is its alone, so that one which does not go round can be ended."""
        ...

    async def wait(self) -> int:
        """Return its exit code, negative for a signal, once it has ended and all of its output was heard."""
        ...

    async def close(self) -> None:
        """Let go of what leads to a child that has ended."""
        ...

    def kill(self) -> None:
        """End it and everything that it started. Does nothing to one that has ended."""
        ...

    def abort(self) -> None:
        """Have it say where it stands, and end."""
        ...


class Starter(Protocol):
    """Starts the children of one run, and has none left when it is closed."""

    async def start(
        self, program: Program, hear: Hear, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> Child:
        """Raises `OSError`."""
        ...

    async def close(self) -> None: ...
