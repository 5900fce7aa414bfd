"""Tasks and leases on a server of Redis or Valkey, which many machines share: scripts on the server keep the rules."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from orchestrator.store.errors import StoreUnfit
from orchestrator.store.redis_address import key_space, redis_address
from orchestrator.store.redis_leases import RedisLeases
from orchestrator.store.redis_links import RedisLinks
from orchestrator.store.redis_tasks import RedisTasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orchestrator.store.redis_address import RedisAddress
    from orchestrator.store.shared import Needs

ANSWER: Final = 5.0


class RedisStore:
    """A connection, over which what is asked for at the same time goes together; a few where that is much.

    It is made without a word to the server: `open` looks whether that is fit, and so does the first request, and each
    connection after one that was lost. What is asked for while there is no answer raises `StoreUnavailable`.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        namespace: str,
        needs: Needs,
        answer: float = ANSWER,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`answer` = seconds within which the server answers, or counts as gone. `clock` gives seconds; `None` = the server's
        own. Raises `StoreUnfit` where the package that speaks to it is missing.
        """
        try:
            from orchestrator.store.redis_link import Known, RedisLink
        except ModuleNotFoundError as error:
            if error.name != "hiredis":
                raise
            missing = "is spoken to by a package that is not installed: pip install 'topology-orchestrator[redis]'"
            raise StoreUnfit(str(address), missing) from None
        space, known = key_space(namespace), Known()
        self._links = RedisLinks(lambda: RedisLink(address, space, needs, known=known, answer=answer, clock=clock))
        self.tasks = RedisTasks(self._links, rng or random.SystemRandom())
        self.leases = RedisLeases(self._links)

    def __repr__(self) -> str:
        return f"RedisStore({self._links.name!r})"

    async def open(self) -> None:
        """See whether the server can be used now. Raises `StoreUnavailable` when there is no answer, and `StoreUnfit` when it
        cannot keep what is needed."""
        await self._links.open()

    async def close(self) -> None:
        """Finish what was asked for, and disconnect; within five seconds, whatever the server does."""
        await self._links.close()


def redis_store(url: str, *, namespace: str, needs: Needs) -> RedisStore:
    """Make a store within `namespace`. Raises `ValueError` for an address that is none, and `StoreUnfit`."""
    return RedisStore(redis_address(url), namespace=namespace, needs=needs)


@asynccontextmanager
async def open_redis_store(url: str, *, namespace: str, needs: Needs) -> AsyncIterator[RedisStore]:
    """Yield a store that is open. Raises as `redis_store` and `RedisStore.open` do."""
    store = redis_store(url, namespace=namespace, needs=needs)
    try:
        await store.open()
        yield store
    finally:
        await store.close()
