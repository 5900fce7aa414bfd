"""Channel names and peer ids: what may be one."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.protocol.limits import MAX_CHANNEL_NAME, MAX_PEER_ID

RESERVED_PREFIXES: Final = ("_metered/", "_internal/", "_system/")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_PRINTABLE: Final = re.compile("[\x20-\x7e]+")


def is_channel(name: str) -> bool:
    """Tell whether `name` may name a channel, or be a pattern of names: 1 to 256 bytes, no control characters."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # a lone surrogate is no text
        return False
    return 0 < size <= MAX_CHANNEL_NAME and not _CONTROL.search(name)


def is_reserved(name: str) -> bool:
    return name[:11].lower().startswith(RESERVED_PREFIXES)


def is_peer_id(name: str) -> bool:
    """Tell whether a message may be addressed to `name`: 1 to 128 characters, no control characters."""
    return 0 < len(name) <= MAX_PEER_ID and not _CONTROL.search(name)


def is_minted_peer_id(name: str) -> bool:
    """Tell whether a token may carry `name` as its `sub`: 1 to 128 printable ASCII characters."""
    return len(name) <= MAX_PEER_ID and _PRINTABLE.fullmatch(name) is not None


def inbox(peer_id: str) -> str:
    """Return the channel on which the worker `peer_id` is handed its tasks."""
    return f"tasks/{peer_id}"
