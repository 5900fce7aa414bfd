"""How large the token of a replica or user can become, and whether a hub would still take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.protocol import limits
from orchestrator.protocol.tokens import Grants, compact_size, token_size

if TYPE_CHECKING:
    from orchestrator.protocol.tokens import Claims
    from orchestrator.topology.replica import Replica

LONGEST: Final = "x" * limits.MAX_PEER_ID
"""A name as long as any: that of a start of a replica, or of a key, which are not known yet."""
SOME_TIME: Final = 9_999_999_999
"""A time in Unix seconds with as many digits as there will be for a while."""


def excess_size(claims: Claims, key_id: str | None) -> str | None:
    """Say in which way a token would be too large; `None` when it is not. `key_id` is that of its key, if it is known.

    Grants and private metadata have limits of their own.
    """
    told = compact_size(dict(claims.peer_metadata or {}))
    if told > limits.MAX_PEER_METADATA:
        return f"its name and capabilities take {told} bytes, and a token holds {limits.MAX_PEER_METADATA}"
    size = token_size(claims, LONGEST if key_id is None else key_id)
    if size > limits.MAX_TOKEN:
        return f"its token takes {size} bytes, and the URL that it travels in has room for {limits.MAX_TOKEN}"
    return None


def is_short(replica: Replica) -> bool:
    """Tell of nearly every replica, without writing its token out, that it is well within every limit."""
    lists = [getattr(replica.grants, name) for name in Grants.__slots__]
    texts = [*replica.channels, *(each for patterns in lists for each in patterns), *replica.capabilities, replica.name]
    return _MOST_PER_CHARACTER * sum(map(len, texts)) + _AROUND * len(texts) < _SHORT


_MOST_PER_CHARACTER: Final = 12
"""Characters that JSON makes of one in a token."""
_AROUND: Final = 4
_SHORT: Final = 12_000
"""Of as many characters a token has 16,000, and of capabilities in them no more than 3,000 are told."""
