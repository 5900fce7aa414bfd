"""What a store promises. Every adapter keeps all of it, and one suite of tests runs over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter's leases are beyond what every adapter promises."""

    durable: bool
    """They outlive the store's process, and so do the fences."""
    fenced: bool
    """The fences of a name only grow. Without that a late holder cannot be told from the present one."""
    shared: bool
    """Several processes may use one store at once."""
    strong: bool = True
    """No two hold one name at once, whatever dies or is cut off: a store that could forget a lease says so."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one holder to one name, until it ends."""

    name: str
    holder: str
    fence: int
    """Greater than that of every lease on this name before, whoever held it and however it ended."""
    left: float
    """Seconds until it ends unless it is renewed, as of the moment at which the store answered."""


class Leases(Protocol):
    """Leases on names, of which each is held by nobody or by one holder at any instant of the store's clock.

    - A name is any text. A holder names one attempt to hold it, such as ``checker.2/7f3a``, and is used for no other:
      a process that starts again is another holder, and waits like everybody else until its lease of before ends.
    - A lease ends when it is released, or `ttl` seconds after it was granted or last renewed, at whichever moment
      between question and answer that was. So whoever counts `ttl` from before it asks never takes it for too long.
    - Every method raises `StoreUnavailable`, and nothing else, when there is no answer. Then it was done or not; each may
      be repeated until there is one, and what was granted unheard ends by itself.
    - Methods may be called at the same time and be cancelled; one that is cancelled was done or not.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Take a name that nobody holds; `None` when somebody else does.

        Whoever holds it already keeps its lease, with the same fence and `ttl` seconds from now on.
        Raises `ValueError` for a `ttl` that is not above zero.
        """
        ...

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Have a lease end `ttl` seconds from now; `None` when it has ended, whether or not somebody else has the name.

        The fence stays. A lease that has ended never comes back.
        Raises `ValueError` for a `ttl` that is not above zero.
        """
        ...

    async def release(self, name: str, holder: str) -> None:
        """End a lease now; nothing, when this holder has none."""
        ...

    async def get(self, name: str) -> Lease | None:
        """Return who holds a name; `None` = nobody."""
        ...
