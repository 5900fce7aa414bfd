"""Whether the answers of a store of leases can have come about one after the other, each while it was asked for.

The search is that of Wing and Gong, for each name by itself: it looks for an order of the requests in which each answer is
right, and in which no request comes before one that had been answered when it was asked. A request without an answer may have
been carried out at any time from then on, or never.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked of a store, and what it was told. Times are seconds of one clock, which all clients have."""

    kind: str
    """``acquire``, ``renew``, ``release`` or ``get``."""
    name: str
    holder: str
    """Who asks; empty for ``get``."""
    ttl: float
    asked: float
    answered: float
    """Infinite = there was no answer."""
    told: tuple[str, int] | None = None
    """The holder and the fence in the answer; `None` = it was none, or there was no answer."""


class _State(NamedTuple):
    holder: str | None = None
    fence: int | None = None
    """`None` = it was granted unheard, and nobody has seen it yet."""
    until: float = 0.0
    """Before this the lease cannot have ended by itself."""
    greatest: int = 0


def violations(history: Iterable[Request]) -> list[str]:
    """Return a sentence for each name whose answers no order explains."""
    by_name: defaultdict[str, list[Request]] = defaultdict(list)
    for request in history:
        by_name[request.name].append(request)
    return [said for name in sorted(by_name) if (said := _explained(name, by_name[name])) is not None]


def _explained(name: str, requests: list[Request]) -> str | None:
    order = sorted(requests, key=lambda each: each.asked)
    everything = sum(1 << number for number, each in enumerate(order) if each.answered < math.inf)
    stack, seen = [(0, _State())], {(0, _State())}
    furthest = 0
    while stack:
        done, state = stack.pop()
        if done & everything == everything:
            return None
        furthest = max(furthest, done, key=int.bit_count)
        for step in _next(order, done, state):
            if step not in seen:
                seen.add(step)
                stack.append(step)
    left = next(each for number, each in enumerate(order) if not furthest >> number & 1 and each.answered < math.inf)
    return (
        f"of {len(order)} requests about {name!r} no more than {furthest.bit_count()} have an order; then comes {left}"
    )


def _next(order: Sequence[Request], done: int, state: _State) -> Iterator[tuple[int, _State]]:
    """Yield what may have come next; what has an answer last, so that it is tried first."""
    may, limit = [], math.inf
    for number, each in enumerate(order):
        if done >> number & 1:
            continue
        if each.asked > limit:
            break
        may.append(number)
        limit = min(limit, each.answered)
    for number in sorted(may, key=lambda number: (order[number].answered < math.inf, -order[number].answered)):
        request = order[number]
        heard = request.answered < math.inf
        after = (_after if heard else _after_unheard)(request, state, limit)
        if after is not None and (heard or after != state):
            yield done | 1 << number, after


def _after(request: Request, state: _State, limit: float) -> _State | None:
    """Return the state after a request that was answered as it was; `None` = that cannot be. It was done by `limit`."""
    told, until = request.told, request.asked + request.ttl
    mine = state.holder is not None and state.holder == request.holder
    over = state.holder is None or state.until <= limit
    free = _State(greatest=state.greatest)
    if request.kind == "release":
        return free if mine else state
    if request.kind == "get":
        if told is None:
            return free if over else None
        return _seen(state, told)
    if told is None:
        if request.kind == "acquire":
            return state if state.holder is not None and not mine else None
        return state if not mine else free if over else None
    same = _seen(state, told) if mine and told[0] == request.holder else None
    if same is not None:
        return same._replace(until=until)
    if request.kind == "acquire" and over and told[0] == request.holder and told[1] > state.greatest:
        return _State(request.holder, told[1], until, told[1])
    return None


def _seen(state: _State, told: tuple[str, int]) -> _State | None:
    """Return the state when somebody was told that this is the lease; `None` = it is not."""
    holder, fence = told
    if state.holder != holder:
        return None
    if state.fence is None and fence > state.greatest:
        return state._replace(fence=fence, greatest=fence)
    return state if state.fence == fence else None


def _after_unheard(request: Request, state: _State, limit: float) -> _State | None:
    """Return what a request without an answer has made of the state, if it was carried out now."""
    until = request.asked + request.ttl
    mine = state.holder is not None and state.holder == request.holder
    if request.kind == "release":
        return _State(greatest=state.greatest) if mine else None
    if mine and request.kind in ("acquire", "renew"):
        return state._replace(until=until)
    if request.kind == "acquire" and (state.holder is None or state.until <= limit):
        return _State(request.holder, None, until, state.greatest)
    return None
