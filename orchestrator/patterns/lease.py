"""How long the holder of a lease may take it for its own, by its own clock alone."""

from __future__ import annotations

from typing import Final

RENEWED_AT: Final = 1 / 3
"""Of the `ttl`, when a lease is renewed for the first time."""
TRIED_AGAIN: Final = 1 / 12
"""Of the `ttl`, between two attempts to renew that fail."""
MARGIN: Final = 1 / 10
"""Of the `ttl`, by which the holder stops before anybody else can acquire: time for its work to be cancelled, and for two
clocks that do not run equally fast."""


class Tenure:
    """One lease as its holder sees it. All times are seconds of the holder's own clock, one that never goes back.

    The store counts a lease from some moment after it was asked, and the holder from the moment at which it asked.
    """

    def __init__(self, asked: float, ttl: float) -> None:
        """`asked` is when the request went out that the lease is the answer to."""
        self._ttl = ttl
        self.renews = self.over = asked
        """When to try to renew it next, and when it is no longer to be relied on."""
        self.renewed(asked)

    def renewed(self, asked: float) -> None:
        """The store has renewed it, by a request of that time."""
        self.over = max(self.over, asked + self._ttl * (1 - MARGIN))
        self.renews = asked + self._ttl * RENEWED_AT

    def failed(self, now: float) -> None:
        """There was no answer, so that it may have been renewed or not."""
        self.renews = now + self._ttl * TRIED_AGAIN

    def refused(self, now: float) -> None:
        """The store says that it has ended."""
        self.over = min(self.over, now)

    def is_over(self, now: float) -> bool:
        return now >= self.over

    def next(self) -> float:
        """Return when to look again."""
        return min(self.renews, self.over)
