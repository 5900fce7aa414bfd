"""docs/topology.md is the whole language: every key with its default and an example, and every example loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.runtime.support import check_support
from orchestrator.topology import model
from orchestrator.topology.load import load_topology
from orchestrator.topology.section import Section
from orchestrator.topology.values import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.topology.section import Field

DOCUMENT = (Path(__file__).parents[1] / "docs" / "topology.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
PARTS = dict(re.findall(r"^```yml\n# (\S+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))
"""The files of the one example that takes several."""
CHAPTERS = dict(re.findall(r"^##+ ([^\n]*)\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "The file": (model.Topology,),
    "`hub`": (model.Hub,),
    "`hub.tls`": (model.Tls,),
    "Agents": (model.Coordinator, model.Worker, model.Agent),
    "`tasks`": (model.Tasks,),
    "`tasks.backoff`": (model.Backoff,),
    "`scopes`": (model.Scopes,),
    "`defaults`": (model.Defaults,),
    "`restart`": (model.Restart,),
    "`reconnect`": (model.Reconnect,),
    "`teams`": (model.Team,),
    "`claims`": (model.Claims,),
    "`presence`": (model.Lobby,),
    "`users`": (model.User,),
}
"""The heading under which the keys of each section are told."""
OF_FILES = {"include", "profiles"}
"""Keys that are used up while files are read, and are no part of the model."""


def told(heading: str) -> dict[str, str]:
    """Return the keys that are told under a heading, each with what is told of its default."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", CHAPTERS[heading], re.MULTILINE))


def fields(heading: str) -> dict[str, Field]:
    return {name: field for section in SECTIONS[heading] for name, field in section.fields().items()}


def descendants(of: type[Section]) -> Iterator[type[Section]]:
    for section in of.__subclasses__():
        yield section
        yield from descendants(section)


def loaded(text: str, directory: Path) -> model.Topology:
    file = directory / "topology.yaml"
    file.write_text(text)
    return load_topology(file, {})


def test_every_section_of_the_model_has_its_chapter() -> None:
    chapters = [section for several in SECTIONS.values() for section in several]
    sections = [section for section in descendants(Section) if section.__module__ == model.__name__]
    assert sorted(map(str, chapters)) == sorted(map(str, sections))


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_chapter_tells_every_key_and_no_other(heading: str) -> None:
    files = OF_FILES if heading == "The file" else set()
    assert told(heading).keys() == fields(heading).keys() | files


@pytest.mark.parametrize(("heading", "key"), [(heading, key) for heading in SECTIONS for key in fields(heading)])
def test_a_default_is_what_the_key_has(heading: str, key: str) -> None:
    """A default in code type is read as the file would have it; words stand for nothing, or for a section of its own."""
    field, said = fields(heading)[key], told(heading)[key]
    if field.required:
        assert said == "required"
    elif literal := re.fullmatch("`([^`A-Z]+)`", said):
        read: Any = field.kind
        assert read(plain(literal[1])) == field.default
    else:
        assert said != "required"
        assert field.default in (None, (), {}) or isinstance(field.default, Section)


def plain(text: str) -> Text:
    return Text(text, text)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_loads(example: str, tmp_path: Path) -> None:
    assert loaded(example, tmp_path).version == 1


def test_every_key_has_an_example(tmp_path: Path) -> None:
    shown: set[tuple[str, str]] = set()
    for example in EXAMPLES:  # what is disabled is in no topology, and so could not show its key
        shown.update(given(loaded(example.replace("enabled: false", "enabled: true"), tmp_path)))
    assert {(heading, key) for heading in SECTIONS for key in fields(heading)} - shown == set()


HEADINGS = {section: heading for heading, several in SECTIONS.items() for section in several}


def given(value: Any) -> Iterator[tuple[str, str]]:
    """Yield every key that stands in a file, after the heading under which it is told."""
    if isinstance(value, Section):
        for key in value.given:
            yield HEADINGS[type(value)], key
            yield from given(getattr(value, key))
    elif isinstance(value, dict):
        for each in value.values():
            yield from given(each)


def test_several_files_come_to_what_is_told(tmp_path: Path) -> None:
    for name, text in PARTS.items():
        (tmp_path / name).write_text(text)
    alone = load_topology(tmp_path / "topology.yaml", {})
    both = load_topology([tmp_path / "topology.yaml", tmp_path / "large.yaml"], {})
    assert (alone.workers["researcher"].replicas, both.workers["researcher"].replicas) == (3, 9)
    assert "the researcher has 9 replicas" in DOCUMENT


def test_a_profile_does_what_is_told(tmp_path: Path) -> None:
    (example,) = (example for example in EXAMPLES if "profiles:" in example)
    loaded(example, tmp_path)
    small = load_topology(tmp_path / "topology.yaml", {}, ["small"])
    assert small.workers["researcher"].replicas == 1


def test_variables_come_to_what_is_told(tmp_path: Path) -> None:
    (example,) = (example for example in EXAMPLES if "$${" in example)
    researcher = loaded(example, tmp_path).workers["researcher"]
    assert researcher.replicas == 2
    assert researcher.environment == {"MODEL": "acme/small", "TEMPLATE": "${name}"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_run_refuses_nothing_that_is_told(example: str, tmp_path: Path) -> None:
    check_support(loaded(example, tmp_path))


def test_every_link_within_the_document_leads_to_a_heading() -> None:
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in CHAPTERS}
    assert set(re.findall(r"\]\(#(.*?)\)", DOCUMENT)) <= anchors
