"""The sentences with which a run announces itself and says goodbye."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.errors import listed
from orchestrator.runtime.letting_in import page_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.runtime.supervisor import Supervisor


MANY: Final = 12
"""Names after which those that follow are counted."""


def counted(count: int, word: str) -> str:
    """Return ``1 replica`` or ``8 replicas``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def ready_line(replicas: int, external: int, seconds: float, url: str, *, unseen: Sequence[str] = ()) -> str:
    """Return the line for when all are ready; `external` of the `replicas` run elsewhere, some of them `unseen`."""
    whereof = f", {external} of them elsewhere" if external else ""
    if unseen:
        whereof += f", {listed(unseen)} unseen"
    ready = f"{counted(replicas, 'replica')} ready in {seconds:.1f} s{whereof}"
    return f"{ready} · hub {url.replace('127.0.0.1', 'localhost')}"


def ready_here_line(replicas: int, expected: Sequence[str], seconds: float, url: str) -> str:
    """Return the line for when all that are started here are ready, and others are expected."""
    first = ", ".join(expected[:MANY])
    more = f" and {len(expected) - MANY} more" if len(expected) > MANY else ""
    ready = f"{counted(replicas, 'replica')} ready here in {seconds:.1f} s; expected elsewhere: {first}{more}"
    return f"{ready} · hub {url.replace('127.0.0.1', 'localhost')}"


def dashboard_line(url: str) -> str:
    """Return the line for where a hub on this machine serves its page, which signs in whoever has started the run."""
    return f"dashboard http{url.removeprefix('ws').replace('127.0.0.1', 'localhost')}/"


def link_line(url: str, code: str, name: str) -> str:
    """Return the line with a link that signs in; it holds a secret, and is for a terminal alone."""
    return f"dashboard {page_at(url, f'code={code}')} · it signs in once, within ten minutes; `orchestrator dashboard {name}` prints another"


def awaited_line(names: Sequence[str], url: str, tokens: str) -> str:
    """Return the line about replicas of others that have not come; `tokens` says where theirs come from."""
    verb = "is" if len(names) == 1 else "are"
    return f"{listed(names)} {verb} started elsewhere and still awaited at {url.replace('127.0.0.1', 'localhost')} · {tokens}"


def summary(replicas: int, external: int, supervisor: Supervisor, seconds: float, tally: Mapping[str, int]) -> str:
    """Return one line about the whole run: what ran, what was done, what went wrong, how it ended."""
    beside = f", beside {external} elsewhere," if external else ""
    parts = [f"ran {counted(replicas, 'replica')}{beside} for {seconds:.1f} s"]
    parts += [
        f"{count} {what if count != 1 else what.replace('s ', ' ', 1)}"
        for what, count in sorted(tally.items())
        if count
    ]
    if supervisor.restarts:
        parts.append(counted(supervisor.restarts, "restart"))
    parts += [f"{name} failed for good" for name in supervisor.failed]
    parts += [f"{name} ended with {ended}" for name, ended in supervisor.unclean.items()]
    if not supervisor.failed and not supervisor.unclean:
        parts.append("all ended cleanly")
    return " · ".join(parts)
