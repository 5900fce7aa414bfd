from __future__ import annotations

from orchestrator.runtime.readiness import Readiness, Standing


def test_all_must_be_ready_at_once() -> None:
    readiness = Readiness(["a", "b"])
    readiness.started("a")
    readiness.ready("a")
    assert (readiness.complete, readiness.hopeless) == (False, False)
    readiness.ready("b")
    assert (readiness.complete, readiness.hopeless) == (True, False)
    readiness.gone("a")
    assert (readiness.complete, readiness.hopeless) == (False, False)


def test_a_connection_that_comes_and_goes_counts_only_after_readiness() -> None:
    readiness = Readiness(["a"])
    readiness.started("a")
    readiness.online("a", True)
    assert readiness["a"] is Standing.STARTING
    readiness.ready("a")
    readiness.online("a", False)
    assert (readiness.complete, readiness.hopeless) == (False, False)
    readiness.online("a", True)
    assert readiness.complete


def test_one_that_is_over_makes_it_hopeless_and_the_rest_partial() -> None:
    readiness = Readiness(["a", "b"])
    readiness.gone("a", for_good=True)
    assert readiness.over == ("a",)
    assert (readiness.hopeless, readiness.partial) == (True, False)
    readiness.ready("b")
    assert (readiness.complete, readiness.partial) == (False, True)


def test_what_is_no_replica_is_passed_over() -> None:
    readiness = Readiness(["a"])
    readiness.ready("(hub)")
    assert not readiness.complete
