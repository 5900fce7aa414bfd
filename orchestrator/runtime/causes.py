"""What the way in which a process ended says about another start of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode
from orchestrator.protocol.codes import CloseCode, closing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.runtime.supervision import Child, Ended
    from orchestrator.topology.replica import RestartPolicy

HOPELESS_CLOSES: Final = frozenset({CloseCode.ACCOUNT_SUSPENDED, CloseCode.ADMIN_DISCONNECT})
"""Closings after which a fresh token changes nothing: the app is disabled, or another process holds the peer id."""


def in_peace(ended: Ended, policy: RestartPolicy) -> bool:
    """Return whether this is an end that the policy leaves as it is."""
    return ended.code == ExitCode.DONE and policy.condition != "always"


def why_hopeless(child: Child, ended: Ended, recent: Sequence[float]) -> str:
    """Return why there is no point in another start; an empty string when there is one.

    `recent` are the restarts within the policy's window.
    """
    policy = child.policy
    if ended.code == ExitCode.INVALID:
        return ended.sentence or f"{ended}: its handler does not fit the topology"
    if ended.code == ExitCode.TERMINAL and ended.close_code in HOPELESS_CLOSES:
        said = f"{ended.close_code} {closing(ended.close_code).meaning}: {closing(ended.close_code).advice}"
        return said + (_own_replicas(child.name) if ended.close_code == CloseCode.ADMIN_DISCONNECT else "")
    if child.essential and not child.proven and ended.code is not None and ended.sentence:
        return ended.sentence  # what it could not do at its first start, it will not be able to do at the next
    if policy.condition == "never":
        return f"{ended}; its policy is never to restart"
    if policy.max_attempts == 0:
        return f"{ended}; its policy allows no restart"
    if policy.max_attempts is not None and len(recent) >= policy.max_attempts:
        times = "once" if policy.max_attempts == 1 else f"{policy.max_attempts} times"
        return f"{ended}; it was restarted {times} within {policy.window:g} s"
    return ""


def _own_replicas(peer_id: str) -> str:
    """Return what to do where another machine runs the same replica."""
    agent, _, number = peer_id.partition(".")
    if not number:
        return f"; one machine alone runs {agent!r}, and the others `--except {agent}`"
    return (
        f"; each machine runs replicas of its own, such as `--only {agent}.1-4` on one and `--only {agent}.5-8` on another "
        "(`orchestrator plan --machine …` checks that)"
    )


def restart_delay(policy: RestartPolicy, before: int, jitter: float) -> float:
    """Return the seconds to wait after `before` restarts within the window: they double, and end at `max_delay`."""
    factor = 0.25 if before == 0 else 2.0 ** min(before - 1, 63)
    return min(policy.max_delay, policy.delay * factor * jitter)
