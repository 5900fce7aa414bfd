"""How long a holder relies on its lease."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.patterns.lease import Tenure


def test_a_lease_is_renewed_at_a_third_and_given_up_before_anybody_else_can_have_it() -> None:
    tenure = Tenure(100.0, 30.0)
    assert tenure.next() == tenure.renews == 110.0
    assert tenure.over == pytest.approx(127.0)
    assert not tenure.is_over(126.9)
    assert tenure.is_over(127.0)


def test_a_renewal_counts_from_when_it_was_asked_for() -> None:
    tenure = Tenure(100.0, 30.0)
    tenure.renewed(110.0)
    assert tenure.renews == 120.0
    assert tenure.over == pytest.approx(137.0)


def test_a_renewal_without_an_answer_is_tried_again_and_prolongs_nothing() -> None:
    tenure, tried = Tenure(100.0, 30.0), []
    while not tenure.is_over(tenure.next()):
        tried.append(tenure.next())
        tenure.failed(tenure.next())
    assert tried == [110.0, 112.5, 115.0, 117.5, 120.0, 122.5, 125.0]
    assert tenure.next() == pytest.approx(127.0)


def test_a_lease_that_the_store_says_has_ended_is_over_at_once() -> None:
    tenure = Tenure(100.0, 30.0)
    tenure.refused(110.2)
    assert tenure.is_over(110.2)


@given(
    ttl=st.floats(0.1, 1e4),
    steps=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.booleans()), max_size=20),
)
def test_a_holder_never_relies_on_a_lease_for_longer_than_the_store_keeps_it(
    ttl: float, steps: list[tuple[float, float, bool]]
) -> None:
    """The store gets each request, heard or unheard, somewhere between when it was made and when it was answered."""
    tenure, ends = Tenure(0.0, ttl), ttl * 1.0
    now = 0.0
    for wait, taken, heard in steps:
        now = max(now, tenure.next())
        if tenure.is_over(now):
            break
        ends = max(ends, now + wait * taken * ttl + ttl)
        asked, now = now, now + wait * ttl
        if heard:
            tenure.renewed(asked)
        else:
            tenure.failed(now)
        assert tenure.over < ends
