"""The search for an order finds one where there is one, and none where two hold a name, or one hears of what is past."""

from __future__ import annotations

import math

import pytest

from tests.store.linearizable import Request, violations


def asked(
    kind: str, holder: str, asked: float, answered: float, told: tuple[str, int] | None = None, ttl: float = 10
) -> Request:
    return Request(kind, "x", holder, ttl, asked, answered, told)


GRANTED = asked("acquire", "a", 0, 1, ("a", 1))


@pytest.mark.parametrize(
    "more",
    [
        [asked("acquire", "b", 2, 3), asked("get", "", 4, 5, ("a", 1)), asked("acquire", "a", 6, 7, ("a", 1))],
        [asked("release", "a", 2, 5), asked("acquire", "b", 3, 4, ("b", 2))],
        [asked("release", "a", 2, math.inf), asked("acquire", "b", 3, 4, ("b", 2))],
        [asked("release", "a", 2, math.inf), asked("get", "", 8, 9, ("a", 1)), asked("get", "", 9, 9.5)],
        [asked("acquire", "b", 9.5, 10.5, ("b", 2)), asked("renew", "a", 11, 12)],
        [asked("acquire", "b", 0, math.inf), asked("get", "", 11, 12, ("b", 7)), asked("renew", "b", 13, 14, ("b", 7))],
        [asked("renew", "a", 5, 6, ("a", 1)), asked("acquire", "b", 14, 14.5), asked("get", "", 15.5, 16)],
    ],
)
def test_answers_that_have_an_order_are_right(more: list[Request]) -> None:
    assert violations([GRANTED, *more]) == []


@pytest.mark.parametrize(
    "more",
    [
        [asked("acquire", "b", 2, 3, ("b", 2))],
        [asked("acquire", "b", 8, 9, ("b", 2))],
        [asked("renew", "a", 5, 6, ("a", 1)), asked("acquire", "b", 11, 12, ("b", 2))],
        [asked("release", "a", 2, 3), asked("acquire", "b", 4, 5, ("b", 1))],
        [asked("release", "a", 2, 3), asked("acquire", "b", 4, 5)],
        [asked("release", "a", 2, 3), asked("renew", "a", 4, 5, ("a", 1))],
        [asked("release", "a", 2, 3), asked("get", "", 4, 5, ("a", 1))],
        [asked("get", "", 2, 3)],
        [asked("get", "", 2, 3, ("b", 1))],
        [asked("renew", "a", 2, 3)],
        [asked("acquire", "b", 10, 12, ("b", 2)), asked("get", "", 13, 14, ("a", 1))],
        [asked("acquire", "b", 2, math.inf), asked("get", "", 4, 5, ("b", 2))],
    ],
)
def test_answers_that_have_none_are_found(more: list[Request]) -> None:
    (said,) = violations([GRANTED, *more])
    assert "about 'x'" in said
