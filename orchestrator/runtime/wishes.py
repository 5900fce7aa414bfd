"""How a caller wants a task to be done, as far as the topology does not say it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from orchestrator.errors import did_you_mean, listed


def check_text(text: str) -> None:
    """Raise `ValueError` for half a surrogate pair, which no message can carry."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the text cannot be sent: character {error.start} is half a surrogate pair") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Who is to take a task, and when: see `Workers`."""

    requires: Sequence[str] = ()
    key: str | None = None
    wait: float = 0.0
    timeout: float | None = None
    priority: int = 0
    delay: float = 0.0
    idempotency_key: str | None = None

    def check(self, seconds: float | None) -> None:
        """Raise `TypeError` or `ValueError` for what cannot be meant; `seconds` is the timeout that holds."""
        if isinstance(self.requires, str):
            raise TypeError(f"requires is a list of capabilities: write [{self.requires!r}]")
        for capability in self.requires:
            if not isinstance(capability, str):
                raise TypeError(f"requires is a list of capabilities, which are texts, unlike {capability!r}")
        for name in ("key", "idempotency_key"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is a text, not {value!r}")
            if value is not None:
                check_text(value)
        if type(self.priority) is not int:
            raise TypeError(f"priority is a whole number, not {self.priority!r}")
        for name, number in (("wait", self.wait), ("timeout", seconds), ("delay", self.delay)):
            if number is not None and not (math.isfinite(number) and number >= 0):
                raise ValueError(f"{name} is a number of seconds of at least 0, not {number!r}")

    def check_sent(self, task: str) -> None:
        """Raise `ValueError` for what only a store can give."""
        given = [
            name for name in ("priority", "delay", "idempotency_key") if getattr(self, name) != getattr(ANYBODY, name)
        ]
        if given:
            raise ValueError(
                f"{listed(given)} needs a store: {task} goes to its worker in a message, unless the topology says "
                "'tasks: {delivery: at-least-once}' of that worker"
            )

    def check_kept(self, task: str) -> None:
        """Raise `ValueError` for what only a message can give."""
        if self.key is not None:
            raise ValueError(
                f"key chooses one worker, and {task} is kept in the store for whoever is free; to have one task for a "
                "key and no second one, give idempotency_key"
            )
        if self.wait:
            raise ValueError(f"wait is not needed: {task} is kept in the store until somebody is there")


ANYBODY: Final = Wish()
_KNOWN: Final = tuple(field.name for field in fields(Wish))


def wish_of(options: Mapping[str, Any]) -> Wish:
    """Return what options say. Raises `TypeError` for one that there is not."""
    for name in options:
        if name not in _KNOWN:
            raise TypeError(
                f"{name!r} is no option of a task{did_you_mean(name, _KNOWN) or f'; there are {listed(_KNOWN)}'}"
            )
    return Wish(**options)


def wishes_of(options: Mapping[str, Any]) -> Callable[[Any], Wish]:
    """Return a function that gives the wish for each of many tasks: their keys are functions of them."""
    functions = {name: options[name] for name in ("key", "idempotency_key") if options.get(name) is not None}
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"{name} is a function of a task here, not {function!r}")
    plain = {name: value for name, value in options.items() if name not in ("key", "idempotency_key")}
    wish_of(plain)
    return lambda task: wish_of({**plain, **{name: function(task) for name, function in functions.items()}})
