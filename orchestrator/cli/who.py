"""`orchestrator who`: who is present, by lobby and agent, and with --watch who comes and goes."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.entering import entered, entering_arguments, is_topology, sayable, talk, way
from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from orchestrator.cli.entering import Way
    from orchestrator.cli.present import News, Present
    from orchestrator.cli.speaking import Speaking
    from orchestrator.patterns.roster import Peer

_COLUMNS: Final = ("LOBBY", "AGENT", "PEER", "UP", "CAPABILITIES")


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator who [FILE] [LOBBY ...] [--watch] [--json] [--hub URL [--token-file FILE]]"
    parser.description = (
        "Shows the peers in these lobbies, or in all lobbies and pools of a run, without being seen there. For a hub "
        "elsewhere name the channels of lobbies."
    )
    parser.add_argument(
        "words", nargs="*", default=[], metavar="WORD", help="the topology file, and lobbies or channels"
    )
    parser.add_argument("--watch", action="store_true", help="go on until ctrl-c, and tell who comes and who leaves")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each peer, and for each change")
    entering_arguments(parser)
    examples(parser, "orchestrator who", "orchestrator who lobby --json", "orchestrator who --watch")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from orchestrator.cli.present import channels_of

    file, names = None, list(args.words)
    if args.hub is None and names and is_topology(names[0]):
        file, names = Path(names[0]), names[1:]
    if args.hub is not None and not names:
        args.usage_error("name the channels of lobbies: a hub elsewhere does not tell which there are")
    found = way(args, file)
    channels = channels_of(found, names)
    try:
        return talk(_who(args, found, channels))
    except KeyboardInterrupt:
        if not args.watch:
            raise
        return ExitCode.DONE


async def _who(args: argparse.Namespace, found: Way, channels: Mapping[str, str]) -> int:
    import asyncio

    from orchestrator.cli.present import watching
    from orchestrator.cli.speaking import Speaking

    speaking = Speaking()
    since = await asyncio.to_thread(began, found)
    async with AsyncExitStack() as stack:
        user = await stack.enter_async_context(entered(found))
        with sayable():
            watch = await stack.enter_async_context(watching(user, channels))
        await _show(args, watch.present, since, speaking)
        if args.watch:
            async for news in watch.news():
                await _tell(args, news, speaking)
    return ExitCode.DONE


def began(found: Way) -> dict[str, float]:
    """Return since when replicas have been ready, in Unix seconds, as far as their run knows: a hub does not tell."""
    if found.seat is None:
        return {}
    from orchestrator.cli.running import view

    return {
        each.peer: each.ready_since or each.since or 0.0
        for each in view(found.seat).replicas
        if each.ready_since is not None or each.since is not None
    }


async def _show(args: argparse.Namespace, present: Present, since: Mapping[str, float], speaking: Speaking) -> None:
    from orchestrator.cli.present import ordered

    peers = ordered(present.peers.values())
    if args.json:
        for peer in peers:
            told = {"event": "present"} if args.watch else {}
            await _line(told | _fields(peer, present.lobbies[peer.id]) | {"since": since.get(peer.id)}, speaking)
        return
    if not peers:
        await speaking.write("nobody is there\n")
        return
    await speaking.write("\n".join(table(peers, present.lobbies, since, time.time())) + "\n")


def table(peers: Iterable[Peer], lobbies: Mapping[str, set[str]], since: Mapping[str, float], now: float) -> list[str]:
    """Show peers, one a line, lobby by lobby; one that is in several is shown in each."""
    from orchestrator.cli.present import POOLS
    from orchestrator.cli.tasks_text import age, columns, plain

    listed = list(peers)
    names = sorted({lobby for peer in listed for lobby in lobbies[peer.id]} - {POOLS})
    rows = [_COLUMNS]
    for lobby in [*names, POOLS]:
        for peer in listed:
            here = lobbies[peer.id] == {POOLS} if lobby == POOLS else lobby in lobbies[peer.id]
            if here:
                up = age(now - since[peer.id]) if peer.id in since else "-"
                capabilities = ", ".join(peer.capabilities)
                rows.append((lobby or "-", peer.agent or peer.kind or "-", peer.id, up, capabilities))
    shown = [tuple(map(plain, row)) for row in rows]
    widths = [max(columns(row[at]) for row in shown) for at in range(len(_COLUMNS))]
    return [
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]


async def _tell(args: argparse.Namespace, news: News, speaking: Speaking) -> None:
    if args.json:
        more = {"reason": news.reason} if news.reason else {}
        told = {"event": news.kind, "time": round(time.time(), 3), **_fields(news.peer, {news.lobby})}
        await _line(told | more, speaking)
        return
    await speaking.write(f"{datetime.now().astimezone():%H:%M:%S} {change_line(news)}\n")


def change_line(news: News) -> str:
    """Say of a change who came, or left and why."""
    from orchestrator.cli.present import left_because
    from orchestrator.cli.tasks_text import plain

    where = f" {news.lobby}" if news.lobby else ""
    if news.kind == "joined":
        can = f" ({', '.join(news.peer.capabilities)})" if news.peer.capabilities else ""
        return plain(f"{news.peer.id} joined{where}{can}")
    return plain(f"{news.peer.id} left{where}: {left_because(news)}")


def _fields(peer: Peer, lobbies: Iterable[str]) -> dict[str, Any]:
    return {
        "peer": peer.id,
        "kind": peer.kind,
        "agent": peer.agent or None,
        "replica": peer.replica,
        "name": peer.name,
        "capabilities": list(peer.capabilities),
        "lobbies": sorted(filter(None, lobbies)),
    }


async def _line(told: dict[str, Any], speaking: Speaking) -> None:
    await speaking.write(json.dumps(told, ensure_ascii=speaking.terminal) + "\n")
