"""Hazard 66: a `handler:` reaches nothing but modules of the topology's directory, its project, and what is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agents.loading import load_handler, search_roots
from orchestrator.errors import HandlerError


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_class_is_found_in_the_topologys_directory(tmp_path: Path) -> None:
    (tmp_path / "near_app.py").write_text("class Boss: ...\n")
    found = load_handler("near_app:Boss", tmp_path)
    assert isinstance(found, type)
    assert found.__name__ == "Boss"


def test_the_project_that_the_directory_belongs_to_is_searched_next(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    nested = tmp_path / "deploy" / "topologies"
    nested.mkdir(parents=True)
    (tmp_path / "far_app.py").write_text("class Boss: ...\n")
    assert search_roots(nested) == (nested, tmp_path)
    assert load_handler("far_app:Boss", nested) is not None


def test_the_nearer_module_wins(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "same_app.py").write_text("class Boss: where = 'far'\n")
    nested = tmp_path / "nested"
    nested.mkdir()
    (nested / "same_app.py").write_text("class Boss: where = 'near'\n")
    assert vars(load_handler("same_app:Boss", nested))["where"] == "near"


@pytest.mark.parametrize(
    "reference", ["", "app:", ":Boss", "../app:Boss", "/etc/app", "app:Boss()", "a b:C", "app:a.b", "app::B"]
)
def test_66_what_is_no_reference_is_refused_before_anything_is_imported(tmp_path: Path, reference: str) -> None:
    with pytest.raises(HandlerError, match="is no handler: it is written 'module:Class', or 'module' alone"):
        load_handler(reference, tmp_path)


def test_66_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "linked_app.py").write_text("raise SystemExit('it was run')\n")
    (inside / "linked_app.py").symlink_to(outside / "linked_app.py")
    with pytest.raises(HandlerError, match="is a link out of the topology's directory"):
        load_handler("linked_app:Boss", inside)


def test_a_missing_module_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "reviewer_app.py").touch()
    with pytest.raises(HandlerError) as caught:
        load_handler("reviwer_app:Boss", tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith("there is no module 'reviwer_app' (did you mean 'reviewer_app'?); looked in ")
    assert str(tmp_path) in sentence


def test_a_missing_class_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "classy_app.py").write_text("class Reviewer: ...\n")
    with pytest.raises(HandlerError) as caught:
        load_handler("classy_app:Reviwer", tmp_path)
    assert str(caught.value) == "module 'classy_app' has no class 'Reviwer' (did you mean 'Reviewer'?)"


def test_what_is_no_class_is_told_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "valued_app.py").write_text("Boss = 7\n")
    with pytest.raises(HandlerError, match="has something that is no class 'Boss'"):
        load_handler("valued_app:Boss", tmp_path)


def test_an_error_inside_the_users_module_passes_through_untouched(tmp_path: Path) -> None:
    (tmp_path / "broken_app.py").write_text("import not_a_module_of_anybody\n")
    with pytest.raises(ModuleNotFoundError, match="not_a_module_of_anybody"):
        load_handler("broken_app:Boss", tmp_path)


def test_a_directory_for_handlers_replaces_the_places_beside_the_topology(tmp_path: Path) -> None:
    beside, apps = tmp_path / "beside", tmp_path / "apps"
    for folder, where in ((beside, "beside"), (apps, "apps")):
        folder.mkdir()
        (folder / "placed_app.py").write_text(f"where = {where!r}\nclass Boss: ...\n")
    (beside / "only_beside.py").write_text("class Boss: ...\n")
    (tmp_path / "pyproject.toml").write_text("")
    assert search_roots(beside, apps) == (apps,)
    assert vars(load_handler("placed_app", beside, apps))["where"] == "apps"
    with pytest.raises(HandlerError, match="no module 'only_beside'"):
        load_handler("only_beside:Boss", beside, apps)
