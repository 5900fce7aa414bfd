"""The address of a store says where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.store.opening import is_local, store_at
from orchestrator.store.sqlite import SqliteStore
from tests.store.task_stores import new


@pytest.mark.parametrize("address", ["memory:", "sqlite:///here.db"])
async def test_a_store_has_tasks_and_leases(address: str, tmp_path: Path) -> None:
    store = store_at(address, tmp_path)
    await store.open()
    await store.tasks.enqueue([new()])
    assert await store.leases.acquire("x", "a/1", 5) is not None
    assert store.tasks.capabilities == store.leases.capabilities
    assert store.tasks.capabilities.durable == (tmp_path / "here.db").exists()
    await store.close()


def test_a_path_is_within_the_folder_unless_it_starts_at_the_root(tmp_path: Path) -> None:
    for address, path in (
        ("sqlite:///a/b.db", tmp_path / "a" / "b.db"),
        (f"sqlite:///{tmp_path}/c.db", tmp_path / "c.db"),
        ("sqlite:///~/d.db", Path("~/d.db").expanduser()),
    ):
        store = store_at(address, tmp_path)
        assert isinstance(store, SqliteStore)
        assert store.path == path.resolve()


@pytest.mark.parametrize("address", ["sqlite:///", "sqlite://tasks.db", "sqlite:tasks.db", "nats://localhost"])
def test_an_address_that_names_no_file_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names no file"):
        store_at(address, tmp_path)


def test_only_what_is_kept_here_is_local() -> None:
    assert [is_local(each) for each in ("memory:", "sqlite:///x", "nats://x", "redis://x")] == [
        True,
        True,
        False,
        False,
    ]
