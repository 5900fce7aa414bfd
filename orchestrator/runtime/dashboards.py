"""When a run is there for dashboards: from the first sign-in on, or once it is ready, where others could let people in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.runtime.pinned import trusting

if TYPE_CHECKING:
    from orchestrator.runtime.lives import Seat
    from orchestrator.runtime.operator import Operated
    from orchestrator.runtime.output import Output
    from orchestrator.runtime.recent import Recent
    from orchestrator.runtime.run_loop import RunLoop
    from orchestrator.store.opening import Store


async def serve_dashboards(
    loop: RunLoop, seat: Seat, run: Operated, recent: Recent, output: Output, wanted: asyncio.Event
) -> None:
    """Be a peer of the hub for as long as there may be dashboards. Raises `ConnectionProblem`.

    A run whose key is its own, and whose hub nobody has signed in to, loads no client into its parent.
    """
    if loop.plan.hub.key is None:
        await wanted.wait()
    else:
        while not (loop.complete or loop.supervisor.stopping or wanted.is_set()):
            await loop.changed()
    from orchestrator.runtime.idling import store_of
    from orchestrator.runtime.own_logs import route_structlog
    from orchestrator.runtime.run_desk import RunDesk
    from orchestrator.runtime.run_peer import RunPeer

    route_structlog(output)
    store_seat = None if seat.store is None else seat.store[0]

    def open_store() -> Store | None:
        return None if loop.plan.store is None else store_of(loop.plan, store_seat)

    await RunPeer(
        url=seat.url,
        key=seat.key,
        tls=trusting(seat.trusted),
        plan=lambda: loop.plan,
        view=run.view,
        changed=loop.changed,
        gathered=loop.lives.gathered,
        watch=loop.lives.watch,
        recent=recent,
        desk=RunDesk(open_store, run, recent),
    ).run(loop.parting)
