"""Whoever has heard of the same writes has the same map, in whatever order and however often it heard of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.patterns import versioned
from orchestrator.patterns.versioned import DELETION_SECONDS, Entry, VersionedMap

ENTRIES = st.builds(
    Entry,
    st.sampled_from(["a", "b", "ä", "key"]),
    st.integers(1, 6),
    st.sampled_from(["m.1", "m.2"]),
    st.sampled_from([None, b"1", b"2", b'{"a":[]}']),
)


def merged(*several: list[Entry]) -> VersionedMap:
    found = VersionedMap()
    for entries in several:
        for entry in entries:
            found.merge(entry, 0.0)
    return found


def facts(of: VersionedMap) -> object:
    return {key: of.known(key) for key in "ab"}, sorted(of.keys()), of.root, of.hashes, of.size, of.clock


@given(st.lists(ENTRIES), st.randoms())
def test_the_order_and_the_repetitions_of_writes_do_not_matter(entries: list[Entry], rng: object) -> None:
    shuffled = entries * 2
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert facts(merged(shuffled)) == facts(merged(entries))


@given(st.lists(ENTRIES), st.lists(ENTRIES), st.lists(ENTRIES))
def test_it_does_not_matter_who_hears_of_whom_first(a: list[Entry], b: list[Entry], c: list[Entry]) -> None:
    bc = [entry for key in ("a", "b", "ä", "key") if (entry := merged(b, c).known(key)) is not None]
    assert merged(a, bc).hashes == merged(a, b, c).hashes == merged(c, a, b).hashes


@given(st.lists(ENTRIES, min_size=1))
def test_the_hash_is_that_of_what_is_left(entries: list[Entry]) -> None:
    whole = merged(entries)
    keys = whole.keys()
    kept = [entry for key in keys if (entry := whole.get(key)) is not None]
    assert (whole.root, whole.size) == (merged(kept).root, merged(kept).size)
    assert (whole.root == VersionedMap().root) == (not kept)


def test_a_deletion_wins_over_a_late_old_write_for_as_long_as_it_is_remembered() -> None:
    found = VersionedMap()
    found.merge(Entry("k", 2, "m.1", None), 100.0)
    assert not found.merge(Entry("k", 1, "m.2", b"1"), 101.0)
    found.forget(100.0 + DELETION_SECONDS - 1)
    assert found.known("k") is not None
    found.forget(100.0 + DELETION_SECONDS)
    assert found.known("k") is None
    assert found.merge(Entry("k", 1, "m.2", b"1"), 102.0)


def test_of_many_deletions_the_oldest_are_forgotten() -> None:
    found = VersionedMap()
    for number in range(versioned.DELETIONS_KEPT + 5):
        found.merge(Entry(f"k{number}", 1, "m.1", None), 0.0)
    assert [number for number in range(10) if found.known(f"k{number}") is None] == [0, 1, 2, 3, 4]
    assert found.known(f"k{versioned.DELETIONS_KEPT + 4}") is not None
