"""Stores that many machines share: one engine, NATS or Redis, which each agent speaks to by itself.

``async with open_shared_store(url, namespace=..., needs=...) as store`` yields what `opening.Store` describes: `store.tasks`
and `store.leases`. No process of ours stands between; who may do what is said by `confined.ConfinedStore` around it, and
by the engine's own accounts.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.store.errors import StoreUnfit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.store.opening import Store

_ENGINES: Final = {"nats": "nats", "redis": "redis", "rediss": "redis"}
"""Schemes, and the extra of this package that each needs."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What is asked of a store beyond what every store promises; it is refused when it is opened, if it cannot keep that."""

    durable: bool = True
    """What was accepted outlives a loss of power: at-least-once delivery needs it."""
    strong: bool = True
    """No two hold one name at once, whichever servers die or are cut off: strong claims need it."""
    allow_unsafe_claims: bool = False
    """The user has been told that this store cannot keep strong claims, and wants them on it nevertheless."""


def is_shared(address: str) -> bool:
    """Tell whether a store is one that `open_shared_store` opens."""
    return address.partition("://")[0] in _ENGINES and "://" in address


@asynccontextmanager
async def open_shared_store(url: str, *, namespace: str, needs: Needs) -> AsyncIterator[Store]:
    """Yield the store of an engine, opened; everything in it is within `namespace`, any text of at most 64 characters.

    Raises `StoreUnfit` when the engine cannot keep what is needed, or what speaks to it is not installed, `ValueError` for an
    address that is none, and `StoreUnavailable` when there is no answer. Whoever wants to begin nevertheless, and have each
    request try again, makes the store by `shared_store` and does not open it.
    """
    store = shared_store(url, namespace=namespace, needs=needs)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


def shared_store(url: str, *, namespace: str, needs: Needs) -> Store:
    """Make the store of an engine without asking it anything. Raises `StoreUnfit` and `ValueError` like `open_shared_store`."""
    scheme = url.partition("://")[0]
    engine = _ENGINES.get(scheme)
    if engine is None or "://" not in url:
        raise ValueError(f"{scheme!r} is no engine that machines share: 'nats://…' and 'redis://…' are")
    try:
        if engine == "nats":
            from orchestrator.store.nats import nats_store

            return nats_store(url, namespace=namespace, needs=needs)
        from orchestrator.store.redis import redis_store

        return redis_store(url, namespace=namespace, needs=needs)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != engine:
            raise
        raise StoreUnfit(
            f"{scheme}://…",
            f"is spoken to by a package that is not installed: pip install 'topology-orchestrator[{engine}]'",
        ) from None
