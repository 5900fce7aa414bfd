"""What `doctor` says of what a topology needs: verdicts on what the probes of `doctor_reach` found. No secret is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.cli.doctor_findings import Finding, none, ok, wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from orchestrator.cli.doctor_reach import Held, HubAnswer, KeptFile, PortUse
    from orchestrator.errors import Problem
    from orchestrator.protocol.tokens import SecretKey

LEAST_KEY: Final = 32
"""Bytes of a secret, as RFC 7518 wants for HS256."""
LEAST_VARIETY: Final = 10
"""Characters that differ from each other, of which a secret is made at least."""
MAX_SKEW: Final = 30.0
"""Seconds by which our clock and the hub's may differ: tokens are renewed long before they end."""
LEAST_ROOM: Final = 64 * 1024 * 1024
"""Bytes that a store's disk has free."""
_MOST_MISTAKES: Final = 20
_SECRET: Final = "sk_secret_"


def mistakes(problems: Sequence[Problem], shown: str) -> Iterator[Finding]:
    from orchestrator.topology.masking import masked

    for problem in problems[:_MOST_MISTAKES]:
        where = f"{problem.source}:{problem.line}:{problem.column}" if problem.line else problem.source
        path = f"{problem.path}: " if problem.path else ""
        yield wrong("topology", f"{where}: {path}{masked(problem.sentence).splitlines()[0]}", "")
    more = len(problems) - _MOST_MISTAKES
    if more > 0:
        yield wrong("topology", f"and {more} more", f"orchestrator validate {shown}")


# -- the key


def key(found: SecretKey | None, *, local: bool) -> Finding:
    if found is None:
        return (
            none("key", "each run makes one of its own")
            if local
            else wrong("key", "the hub is elsewhere, and there is no key for it", "set hub.key, from a variable")
        )
    secret = found.secret.removeprefix(_SECRET)
    size, variety = len(secret.encode()), len(set(secret))
    advice = "make one with `orchestrator keys new`, and have the hub and the topology take it"
    if size < LEAST_KEY:
        return wrong("key", f"the secret of {found.id} has {size} bytes, and {LEAST_KEY} is the least", advice)
    if variety < LEAST_VARIETY:
        return wrong("key", f"the secret of {found.id} is made of {variety} different characters alone", advice)
    return ok("key", f"{found.id} has a secret of {size} bytes")


def secret_files(held: Collection[Held]) -> Iterator[Finding]:
    """Say of files that hold secrets whether others can read them."""
    for file in held:
        if file.mode & 0o077:
            yield wrong(
                "secret files", f"{file.path} {file.holds}, and others can read it (mode {file.mode:03o})", file.advice
            )
    if held and not any(file.mode & 0o077 for file in held):
        yield ok("secret files", f"{', '.join(file.path for file in held)}: their owner's alone")


# -- where the hub is


def port(use: PortUse) -> Finding:
    where = f"{use.host}:{use.port}"
    if use.port == 0:
        return ok("port", f"any that is free, on {use.host}")
    if use.run is not None:
        return ok("port", f"{where} is that of this topology's run, process {use.run}")
    if not use.why:
        return ok("port", f"{where} is free")
    if use.taken:
        who = "another program" if use.pid is None else f"process {use.pid} ({use.name})"
        return wrong("port", f"{where} is used by {who}", "end that program, or give hub.listen another port")
    return wrong("port", f"{where} cannot be listened on: {use.why}", "give hub.listen another address")


def hub(answer: HubAnswer) -> Iterator[Finding]:
    """Say whether a hub can be reached, speaks our protocol and takes our key, and how its clock goes."""
    if answer.certificate:
        yield wrong(
            "hub",
            f"{answer.url}: its certificate is not trusted: {answer.certificate}",
            "have it show one for this name that this machine trusts; SSL_CERT_FILE names whom else to trust",
        )
        return
    if answer.away:
        yield wrong("hub", f"{answer.url} cannot be reached: {answer.away}", "is it running, and is hub.url right?")
        return
    if answer.strange:
        yield wrong(
            "hub", f"{answer.url} answers, but not as a hub does: {answer.strange}", "hub.url names another service"
        )
        return
    if answer.refused is not None:
        advice = (
            "set the clock of this machine, or that of the hub"
            if answer.refused == _EXPIRED
            else "is it a key of this hub? `orchestrator keys list` shows what it accepts"
        )
        yield wrong("hub", f"{answer.url} refuses a token of this key with {answer.refused}", advice)
        return
    yield ok("hub", f"{answer.url} lets us in")
    if answer.skew is not None and abs(answer.skew) > MAX_SKEW:
        ahead = "ahead of" if answer.skew > 0 else "behind"
        yield wrong(
            "hub's clock", f"it is {abs(answer.skew):.0f} s {ahead} ours", "set both by one source: tokens end by them"
        )
    elif answer.skew is not None:
        yield ok("hub's clock", "it agrees with ours")


_EXPIRED: Final = 4002


# -- where tasks are kept


def store_file(kept: KeptFile) -> Iterator[Finding]:
    if kept.why:
        yield wrong("store", f"{kept.path}: {kept.why}", kept.advice)
        return
    if kept.room < LEAST_ROOM:
        yield wrong(
            "store",
            f"{kept.path}: its disk has {kept.room / 1024**2:.0f} MiB left",
            "make room: a store that is full refuses new tasks",
        )
        return
    room = f"{kept.room / 1024**3:,.1f} GiB left"
    if kept.run is not None:
        yield ok("store", f"{kept.path} is in use by process {kept.run}, {room}")
    elif not kept.there:
        yield ok("store", f"{kept.path} can be made, {room}")
    else:
        sound = "sound" if kept.checked else "too large to be looked through here"
        yield ok("store", f"{kept.path} is {sound}, {room}")


def engine(check: str, shown: str, why: str) -> Finding:
    """`why`: a sentence on why it cannot be used; empty = it can."""
    if why:
        return wrong(check, why, f"is it running at {shown}, and does it let us in?")
    return ok(check, f"{shown} can be used")
