"""`orchestrator token inspect`: what a token says, when it ends, what it allows, and whether a key has signed it."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.protocol.token_reading import Opened, Verdict
    from orchestrator.protocol.tokens import Claims, SecretKey

_LONGEST: Final = 65_536
_VARIABLE: Final = "HUB_KEY"


def inspect(given: str | None, key_file: Path | None, *, as_json: bool) -> int:
    """Print what the token in `given` (a file, the token itself, ``-`` or `None` for standard input) holds.

    Returns 1 where a key was there to verify it with and a hub with that key would not take it.
    """
    from orchestrator.protocol.token_reading import judge, open_token

    opened, now = open_token(_text_of(given)), time.time()
    verdict = judge(opened, _keys(key_file), now)
    if as_json:
        print(json.dumps(_as_json(opened, verdict, now), indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(_printable, _as_text(opened, verdict, now))))
    return ExitCode.FAILED if verdict.accepted is False else ExitCode.DONE


def _text_of(given: str | None) -> str:
    from orchestrator.protocol.token_reading import NoToken, looks_like_a_token

    if given is None or given == "-":
        if sys.stdin.isatty():
            print("paste the token, then press enter and ctrl-d", file=sys.stderr)
        return sys.stdin.buffer.read(_LONGEST).decode(errors="replace")
    if looks_like_a_token(given) and not _is_file(given):
        return given
    try:
        with Path(given).open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST)
    except OSError as error:
        raise NoToken(f"{given}: the file cannot be read: {(error.strerror or 'it is no file').lower()}") from None


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # longer than a name may be
        return False


# -- whether it is good


def _keys(key_file: Path | None) -> dict[str, SecretKey] | None:
    """Return the keys to verify with, by id. Raises `NoToken` or `KeyProblem` for ones that cannot be read."""
    from orchestrator.protocol.token_reading import NoToken
    from orchestrator.protocol.tokens import SecretKey

    pair = os.environ.get(_VARIABLE) if key_file is None else _alone_in(key_file)
    if pair:
        try:
            key = SecretKey.parse(pair.strip())
        except ValueError as error:
            raise NoToken(f"{key_file or f'the variable {_VARIABLE}'}: {error}") from None
        return {key.id: key}
    if key_file is None:
        return None
    from orchestrator.hub import key_file as files

    return {entry.id: entry.key() for entry in files.load(key_file).secret_keys if not entry.revoked}


def _alone_in(path: Path) -> str | None:
    """Return the text of a file that holds a pair and nothing else; `None` for others."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST)
    except OSError:
        return None
    return text if text.startswith("sk_id_") else None


# -- what it says


def _as_text(opened: Opened, verdict: Verdict, now: float) -> Iterator[str]:
    hint = f": give --key-file, or set {_VARIABLE}" if verdict.accepted is None else ""
    yield verdict.sentence + hint
    yield "header"
    for name, value in opened.header.items():
        yield _line(name, value)
    yield "claims"
    for name, value in opened.payload.items():
        yield _line(name, value) + _when(name, value, now)
    if opened.claims is None:
        yield "no hub takes these claims: one is missing, too large, or of a wrong type"
        return
    yield from _allowed(opened.claims)


def _printable(line: str) -> str:
    """Return a line without what a terminal would obey: a token may come from anybody."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def _line(name: str, value: object) -> str:
    return f"  {name:<13} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def _when(name: str, value: object, now: float) -> str:
    """Return a time claim as a date, and how far it is from now."""
    from datetime import UTC, datetime

    from orchestrator.cli.scope_text import duration

    if name not in ("exp", "nbf", "iat") or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        date = f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "  (no date there is)"
    passed = value <= now
    far = f"{duration(now - value)} ago" if passed else f"in {duration(math.ceil(value - now))}"
    return f"  ({date}, {'expired ' if name == 'exp' and passed else ''}{far})"


def _allowed(claims: Claims) -> Iterator[str]:
    """Say what a token allows, in words."""
    from orchestrator.cli.scope_text import flat_text, grants_text
    from orchestrator.protocol.codes import ALL_ACTIONS
    from orchestrator.protocol.tokens import Grants
    from orchestrator.topology.over_grants import over_grants

    flat = " ".join(sorted(ALL_ACTIONS if claims.permissions is None else claims.permissions)) or "nothing"
    as_key = ", as far as its key" if claims.permissions is None or claims.channels is None else ""
    channels = ("**",) if claims.channels is None else claims.channels
    if claims.grants is None:
        yield f"it lets {claims.sub} {flat}{as_key}"
        yield _line("on channels", "  ".join(channels) or "none")
        return
    yield f"it lets {claims.sub}{as_key}"
    yield from list(grants_text(claims.grants, "")) if claims.grants != Grants() else ["  do nothing"]
    yield from flat_text(
        over_grants(channels, ALL_ACTIONS if claims.permissions is None else claims.permissions, claims.grants)
    )


def _as_json(opened: Opened, verdict: Verdict, now: float) -> dict[str, Any]:
    exp = None if opened.claims is None else opened.claims.exp
    return {
        "header": opened.header,
        "claims": opened.payload,
        "well_formed": opened.claims is not None,
        "expired": None if exp is None else exp <= now,
        "expires_in": None if exp is None else math.ceil(exp - now),
        "verified": verdict.accepted,
        "verdict": verdict.sentence,
    }
