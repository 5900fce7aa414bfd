"""What a server of Redis has to be like, so that a store on it keeps what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.store.port import Capabilities
from orchestrator.store.redis_address import ALLOW_LOSS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.store.shared import Needs

OLDEST: Final = (6, 2)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself."""

    version: tuple[int, ...]
    mode: str
    """standalone, cluster or sentinel."""
    role: str
    """master, or slave."""
    replicated: bool
    """It has replicas, had some within the last hour, was one itself, or is part of a cluster."""
    eviction: str
    """What it does when its memory is full; noeviction = it refuses to take more."""
    log: bool
    """Whether it writes what is changed to a file."""
    sync: str | None
    """When that file is on the disk: always = before it answers; `None` = it does not tell."""
    sync_rests: bool
    """Whether it is not, while the file is written anew."""


def facts_of(info: str, settings: Mapping[str, str] | None) -> ServerFacts:
    """Read the answers to ``INFO`` and ``CONFIG GET *append*``; no settings = it was not allowed to ask."""
    told = dict(line.partition(":")[::2] for line in info.splitlines() if ":" in line)
    mode = (
        told.get("redis_mode") or told.get("server_mode") or "standalone"
    )  # the one is Redis's word, the other Valkey's
    replicated = (
        mode == "cluster"
        or told.get("connected_slaves", "0") != "0"
        or told.get("repl_backlog_active", "0") != "0"
        or told.get("second_repl_offset", "-1") != "-1"
    )
    return ServerFacts(
        version=tuple(int(part) for part in told.get("redis_version", "0").split(".") if part.isdecimal()),
        mode=mode,
        role=told.get("role", ""),
        replicated=replicated,
        eviction=told.get("maxmemory_policy", ""),
        log=told.get("aof_enabled") == "1",
        sync=None if settings is None else settings.get("appendfsync"),
        sync_rests=settings is not None and settings.get("no-appendfsync-on-rewrite") == "yes",
    )


def cannot_serve(facts: ServerFacts) -> str | None:
    """Return why a server takes nothing now, though it may later; `None` = it does."""
    if facts.role in ("slave", "replica"):
        return "is a replica, which takes nothing: name the primary"
    return None


def keeps(facts: ServerFacts) -> Capabilities:
    """Return what a store on a server keeps."""
    kept = _forgets(facts) is None
    return Capabilities(durable=kept, fenced=True, shared=True, strong=kept)


def unfit(facts: ServerFacts, needs: Needs, *, allow_loss: bool) -> str | None:
    """Return why a server cannot keep what is needed, and what to do; `None` = it can."""
    if facts.mode == "sentinel":
        return "is a Sentinel, which keeps nothing: name the server that it watches"
    if facts.version < OLDEST:
        found = ".".join(map(str, facts.version))
        return f"is version {found} of Redis; what a store needs is there from {'.'.join(map(str, OLDEST))} on"
    if facts.eviction != "noeviction":
        return (
            f"forgets what it was given when its memory is full (maxmemory-policy {facts.eviction or 'unknown'}): "
            "set 'maxmemory-policy noeviction'"
        )
    forgets = _forgets(facts)
    if forgets is None:
        return None
    why, remedy = forgets
    if needs.durable and not allow_loss:
        return (
            f"{why}, and forgets tasks that it has acknowledged: {remedy}, or take the loss on yourself with "
            f"'?{ALLOW_LOSS}=true' in its address"
        )
    if needs.strong and not needs.allow_unsafe_claims:
        return (
            f"{why}, and may give to a second what it has forgotten that a first one holds: {remedy}, or write 'consistency: "
            "best-effort', or take two holders at once on yourself with 'allow_unsafe_claims: true'"
        )
    return None


def _forgets(facts: ServerFacts) -> tuple[str, str] | None:
    """Return why a server may forget what it has acknowledged, and what would help; `None` = it does not."""
    if not facts.log:
        return "keeps all in memory alone", "set 'appendonly yes' and 'appendfsync always'"
    if facts.sync is None:
        return (
            "does not let itself be asked whether it answers only when its file is on the disk",
            "allow this user '+config|get', and set 'appendfsync always'",
        )
    if facts.sync != "always":
        return f"answers before its file is on the disk (appendfsync {facts.sync})", "set 'appendfsync always'"
    if facts.sync_rests:
        return (
            "answers before its file is on the disk while that is written anew",
            "set 'no-appendfsync-on-rewrite no'",
        )
    if facts.replicated:
        return (
            "is replicated, and a replica that takes over has not got what was acknowledged last",
            "use a server without replicas, or NATS",
        )
    return None
