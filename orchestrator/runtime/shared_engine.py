"""The engine that keeps what the agents of several machines share: which one a plan has, and the ways to it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode, OrchestratorError, StoreUnavailable
from orchestrator.runtime.control import Engine
from orchestrator.store.errors import StoreUnfit
from orchestrator.store.shared import Needs, is_shared, shared_store

if TYPE_CHECKING:
    from orchestrator.store.opening import Store
    from orchestrator.topology.plan import Plan

LOOK_SECONDS: Final = 15.0
"""How long a run that begins, or a command, waits for the engine's first answer."""
LONGEST_NAMESPACE: Final = 64


class EngineAway(StoreUnavailable):
    """The engine of the store cannot be reached when a run begins, and nothing was started."""

    exit_code = ExitCode.UNREACHABLE


class EngineUnfit(OrchestratorError):
    """The engine of the store cannot keep what the topology asks of it, or its address is none."""

    exit_code = ExitCode.INVALID


def engine_of(plan: Plan) -> Engine | None:
    """Return the engine that keeps what the agents of a plan share; `None` = their store is in a process of the run, or
    they have none."""
    address = plan.shared_store
    if address is None:
        return None
    access = [replica.store for replica in plan.replicas if replica.store is not None]
    needs = Needs(
        durable=any(each.claims or each.queues for each in access),
        strong=any(seat.strong and not seat.unsafe for replica in plan.replicas for seat in replica.teams),
    )
    return Engine(address, namespace(plan.name), needs)


def namespace(topology: str) -> str:
    """Return what keeps a topology apart from others at one engine: its name, as far as there is room for that."""
    if len(topology) <= LONGEST_NAMESPACE:
        return topology
    mark = hashlib.sha256(topology.encode()).hexdigest()[:16]
    return f"{topology[: LONGEST_NAMESPACE - len(mark) - 1]}-{mark}"


def made(engine: Engine) -> Store:
    """Return the store of an engine without asking it anything. Raises `EngineUnfit`."""
    try:
        return shared_store(engine.url, namespace=engine.namespace, needs=engine.needs)
    except StoreUnfit as error:
        raise EngineUnfit(str(error)) from error
    except ValueError as error:
        raise EngineUnfit(f"the store: {error}") from None


def for_operators(address: str, topology: str) -> Engine | None:
    """Return the engine at an address, for whoever looks at what it keeps for a topology and needs no more of it than every
    store gives; `None` = the address is none of an engine."""
    return Engine(address, namespace(topology), Needs(durable=False, strong=False)) if is_shared(address) else None


async def open_now(engine: Engine) -> Store:
    """Return all that the engine keeps for a topology, opened: the caller's to close.

    Raises `EngineAway`, and `EngineUnfit` for an engine that cannot give what is needed.
    """
    store = made(engine)
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await store.open()
    except BaseException as error:
        await store.close()
        if isinstance(error, StoreUnfit):
            raise EngineUnfit(str(error)) from error
        if isinstance(error, StoreUnavailable):
            raise EngineAway(str(error)) from error
        if isinstance(error, TimeoutError):
            raise EngineAway(f"the store gave no answer within {LOOK_SECONDS:g} s") from None
        raise
    return store


async def unclaimed(plan: Plan) -> list[str]:
    """See whether the engine of a plan can be used now, and return a sentence for each queue with open tasks that nobody is
    going to take; nothing, for a plan without one.

    Raises `EngineAway` and `EngineUnfit`.
    """
    engine = engine_of(plan)
    if engine is None:
        return []
    store = await open_now(engine)
    try:
        queues = await store.tasks.stats()
    finally:
        await store.close()
    taken = {replica.agent for replica in plan.replicas if replica.delivery is not None}
    return [
        f"{queue.open} task(s) wait for {queue.queue!r}, which is no at-least-once worker of this topology: give it back "
        "its name, or end them with 'orchestrator tasks cancel'"
        for queue in queues
        if queue.open and queue.queue not in taken
    ]
