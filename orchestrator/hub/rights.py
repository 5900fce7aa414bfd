"""What one connection may do: its token's claims, within its key's scope, within its grants."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

from orchestrator.protocol.codes import Action
from orchestrator.protocol.globs import compiled, has_star, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.protocol.globs import Automaton, Pattern
    from orchestrator.protocol.tokens import Grants

_REMEMBERED: Final = 512
"""Answers that are kept per question; a connection that asks about more names than that starts over."""
_ONE_BY_ONE: Final = 4
"""Patterns that are asked one after the other; more of them are asked together."""
_T = TypeVar("_T")


class Listing(Enum):
    """How a subscription may be made."""

    REFUSED = "refused"
    LISTED = "listed"
    UNLISTED = "unlisted"
    """It sees messages and presence of the channel, and is not in its roster."""


class Scope:
    """A list of patterns that answers whether it takes in a name, or all that a pattern takes in."""

    __slots__ = ("_all", "_patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns: tuple[Pattern, ...] = tuple(map(compiled, patterns))
        self._all: Automaton | None = None

    def has(self, name: str) -> bool:
        if len(self._patterns) > _ONE_BY_ONE:
            return self._automaton().matches(name)
        return any(pattern.matches(name) for pattern in self._patterns)

    def covers(self, channel: str) -> bool:
        """Tell whether `channel` is in scope; a text with a star is a pattern and has to be covered whole."""
        if not has_star(channel):
            return self.has(channel)
        if len(self._patterns) > _ONE_BY_ONE:
            return self._automaton().covers(channel)
        wanted = compiled(channel)
        return any(pattern.covers(wanted) for pattern in self._patterns)

    def spelt(self) -> list[str]:
        return [pattern.text for pattern in self._patterns]

    def _automaton(self) -> Automaton:
        if self._all is None:
            self._all = side_by_side(self._patterns)
        return self._all


class Rights:
    """Answers are remembered, so that a name costs its patterns once."""

    __slots__ = ("_grants", "_listings", "_scopes", "_sending", "actions", "publishing", "sends_to_all")

    def __init__(self, actions: frozenset[Action], scopes: Iterable[Iterable[str]], grants: Grants | None) -> None:
        """A channel has to be in every one of `scopes`. `grants` limit further; `None` = they do not."""
        self.actions = actions
        self._scopes = tuple(map(Scope, scopes))
        self._grants: dict[str, Scope] | None = None
        if grants is not None:
            self._grants = {name: Scope(getattr(grants, name)) for name in grants.__slots__}
        self.sends_to_all = grants is None and Action.SEND in actions
        """It may send to any peer."""
        self._listings: dict[str, Listing] = {}
        self.publishing: dict[str, bool] = {}
        """What `may_publish` has answered lately."""
        self._sending: dict[str, bool] = {}

    def may(self, action: Action) -> bool:
        return action in self.actions

    def spelt(self) -> tuple[list[Action], list[list[str]], dict[str, list[str]] | None]:
        """Return what this was made of: actions, scopes, and the patterns of each grant."""
        grants = None if self._grants is None else {name: scope.spelt() for name, scope in self._grants.items()}
        return sorted(self.actions), [scope.spelt() for scope in self._scopes], grants

    def subscription(self, channel: str) -> Listing:
        return _remembered(self._listings, channel, self._subscription)

    def may_publish(self, channel: str) -> bool:
        return _remembered(self.publishing, channel, self._may_publish)

    def may_send(self, to: str) -> bool:
        """Tell whether the grants, if there are any, name this peer."""
        return self._grants is None or _remembered(self._sending, to, self._grants["send"].has)

    def sees_presence(self, channel: str) -> bool:
        """Tell whether a subscriber of `channel` is told who is there."""
        if Action.PRESENCE not in self.actions:
            return False
        if self._grants is None:
            return True
        return self._grants["presence"].covers(channel) or self._grants["observe"].covers(channel)

    def _in_scope(self, channel: str) -> bool:
        return all(scope.covers(channel) for scope in self._scopes)

    def _subscription(self, channel: str) -> Listing:
        if not self._in_scope(channel):
            return Listing.REFUSED
        if self._grants is None or self._grants["subscribe"].covers(channel):
            return Listing.LISTED
        return Listing.UNLISTED if self._grants["observe"].covers(channel) else Listing.REFUSED

    def _may_publish(self, channel: str) -> bool:
        return (
            Action.PUBLISH in self.actions
            and self._in_scope(channel)
            and (self._grants is None or self._grants["publish"].covers(channel))
        )


def _remembered(answers: dict[str, _T], name: str, ask: Callable[[str], _T]) -> _T:
    answer = answers.get(name)
    if answer is None:
        if len(answers) >= _REMEMBERED:
            answers.clear()
        answer = answers[name] = ask(name)
    return answer
