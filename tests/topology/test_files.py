"""Several files as one: what is included, merged, laid over by a profile, and where each mistake is said to stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import TopologyError
from orchestrator.topology.load import load_topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.topology.model import Topology

BASE = "version: 1\nworkers:\n  w: {handler: app:W, replicas: 3, capabilities: [a, b]}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**files: str) -> None:
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def load(*names: str, profiles: Sequence[str] = (), **environ: str) -> Topology:
    return load_topology([Path(f"{name}.yaml") for name in names], environ, profiles)


def complaints(*names: str, profiles: Sequence[str] = (), **environ: str) -> list[str]:
    with pytest.raises(TopologyError) as refused:
        load(*names, profiles=profiles, **environ)
    return [str(problem) for problem in refused.value.problems]


def test_later_files_win_maps_merge_and_lists_replace(home: Path) -> None:
    write(base=BASE, over="workers:\n  w: {replicas: 1, capabilities: [c]}\n  v: {handler: app:V}\n")
    topology = load("base", "over")
    w = topology.workers["w"]
    assert (w.handler, w.replicas, w.capabilities) == ("app:W", 1, ("c",))
    assert list(topology.workers) == ["w", "v"]
    assert load("base").workers["w"].replicas == 3


def test_a_mistake_is_said_of_the_file_that_it_stands_in(home: Path) -> None:
    write(base=BASE, over="workers:\n  w: {replicas: many}\n\nteams:\n  t: {members: [x]}\n")
    assert complaints("base", "over") == [
        "over.yaml:2:17: workers.w.replicas: expected a whole number of at least 1, found 'many'",
        "over.yaml:5:17: teams.t.members[0]: no agent called 'x' is declared; the file declares 'w'",
    ]


def test_mistakes_come_in_the_order_of_the_files(home: Path) -> None:
    write(z="version: 1\nzebra: 1\nworkers:\n  w: {handler: app:W}\n", a="apple: 1\n")
    assert [line[:9] for line in complaints("z", "a")] == ["z.yaml:2:", "a.yaml:1:"]


def test_what_is_included_comes_under_the_file_that_includes_it(home: Path) -> None:
    write(
        top="version: 1\ninclude: [parts/workers.yaml, parts/more.yaml]\nworkers:\n  w: {replicas: 2}\n",
        parts__workers="include: deep/last.yaml\nworkers:\n  w: {handler: app:W, replicas: 5, name: one}\n",
        parts__more="workers:\n  w: {name: two}\n",
        parts__deep__last="agents:\n  a: {handler: app:A}\n",
    )
    topology = load("top")
    assert (topology.workers["w"].replicas, topology.workers["w"].name) == (2, "two")
    assert "a" in topology.agents


def test_a_mistake_in_an_included_file_is_said_of_it(home: Path) -> None:
    write(top="version: 1\ninclude: parts/w.yaml\n", parts__w="workers:\n  w: {handler: 7x}\n")
    [line] = complaints("top")
    assert line.startswith("parts/w.yaml:2:16: workers.w.handler: a handler is written")


def test_files_that_include_each_other_are_told_with_the_whole_way(home: Path) -> None:
    write(a="version: 1\ninclude: b.yaml\n", b="include: c.yaml\n", c="include: [a.yaml]\nagents: {x: {handler: a}}\n")
    assert complaints("a") == ["c.yaml:1:11: include: this file includes itself: a.yaml → b.yaml → c.yaml → a.yaml"]


def test_a_file_may_be_included_twice(home: Path) -> None:
    write(
        a="version: 1\ninclude: [b.yaml, c.yaml]\n",
        b="include: d.yaml\n",
        c="include: d.yaml\n",
        d="agents: {x: {handler: app:X}}\n",
    )
    assert list(load("a").agents) == ["x"]


def test_files_that_include_ever_more_are_bounded(home: Path) -> None:
    write(
        **{f"f{n}": f"include: [f{n + 1}.yaml, f{n + 1}.yaml]\n" for n in range(12)},
        f12="agents: {x: {handler: app:X}}\n",
    )
    assert complaints("f0")[0].endswith("the topology comes from more than 100 files")


def test_a_file_that_is_not_there_is_told_with_the_nearest_name(home: Path) -> None:
    write(top="version: 1\ninclude: worker.yaml\nagents: {x: {handler: app:X}}\n", workers="")
    assert complaints("top") == [
        "top.yaml:2:10: include: there is no file 'worker.yaml' (did you mean 'workers.yaml'?)"
    ]
    [line] = complaints("nowhere")
    assert line == "nowhere.yaml: the file cannot be read: no such file or directory"


def test_variables_are_filled_in_everywhere_also_in_what_is_included(home: Path) -> None:
    write(top="version: 1\ninclude: '${STAGE}.yaml'\n", live="agents: {x: {handler: app:X, replicas: '${COUNT:-4}'}}\n")
    assert load("top", STAGE="live").agents["x"].replicas == 4
    assert "STAGE is not set" in complaints("top")[0]


PROFILED = (
    BASE
    + "profiles:\n  dev: {workers: {w: {replicas: 1}}}\n  big:\n    workers: {w: {replicas: 9}}\n    agents: {x: {handler: app:X}}\n"
)


def test_a_profile_lies_over_the_file_and_of_several_the_later_wins(home: Path) -> None:
    write(top=PROFILED)
    assert load("top").workers["w"].replicas == 3
    assert load("top", profiles=["dev"]).workers["w"].replicas == 1
    both = load("top", profiles=["dev", "big"])
    assert (both.workers["w"].replicas, list(both.agents)) == (9, ["x"])


def test_a_profile_that_no_file_declares_is_told_with_the_nearest(home: Path) -> None:
    write(top=PROFILED)
    assert complaints("top", profiles=["devv"]) == [
        "top.yaml: profiles: no profile called 'devv' is declared (did you mean 'dev'?)"
    ]
    assert complaints("top", profiles=["x"])[0].endswith("; there are 'dev' and 'big'")


def test_a_mistake_in_a_profile_is_told_with_the_profile_that_it_stands_in(home: Path) -> None:
    write(
        top="version: 1\nworkers:\n  w: {handler: app:W, replicas: 2}\n"
        "profiles:\n  dev: {workers: {w: {replicas: many}}}\n  big: {workers: {w: {concurrency: 0}}}\n"
    )
    told = [
        "top.yaml:5:33: profiles.dev.workers.w.replicas: expected a whole number of at least 1, found 'many'",
        "top.yaml:6:36: profiles.big.workers.w.concurrency: expected a whole number of at least 1, found '0'",
    ]
    assert complaints("top") == told
    assert complaints("top", profiles=["big", "dev"]) == told


def test_a_profile_may_stand_in_several_files(home: Path) -> None:
    write(
        top="version: 1\ninclude: part.yaml\nworkers:\n  w: {handler: app:W}\nprofiles:\n  dev: {name: A}\n",
        part="profiles:\n  dev: {workers: {w: {replicas: none}}}\n",
    )
    assert [line.partition(": ")[2].partition(":")[0] for line in complaints("top")] == [
        "profiles.dev.name",
        "profiles.dev.workers.w.replicas",
    ]


def test_what_does_not_fit_because_of_a_profile_is_told_with_it_too(home: Path) -> None:
    write(top=BASE + "profiles:\n  dev: {workers: {w: {capabilities: [a]}}}\n")
    origin = load("top", profiles=["dev"]).origin
    assert origin.at_key(("workers", "w", "capabilities"), "here").path == "profiles.dev.workers.w.capabilities"
    assert origin.at_key(("workers", "w", "replicas"), "here").path == "workers.w.replicas"


def test_what_an_alias_shares_with_a_profile_is_told_once_where_it_stands(home: Path) -> None:
    write(
        top="version: 1\nworkers:\n  w: {handler: app:W, tasks: &t {timeout: soon}}\n"
        "profiles:\n  dev: {workers: {w: {tasks: *t}}}\n"
    )
    [line] = complaints("top")
    assert line.startswith("top.yaml:3:43: workers.w.tasks.timeout: expected a duration")


def test_the_names_of_profiles_are_names(home: Path) -> None:
    write(top=BASE + "profiles:\n  Big one: {name: a}\n  9: {name: b}\n  x-dev: {name: c}\n")
    rule = "a name begins with a small letter and holds only small letters, digits, '-' and '_'"
    assert complaints("top") == [
        f"top.yaml:5:3: profiles.Big one: {rule} (did you mean 'big-one'?)",
        f"top.yaml:6:3: profiles.9: {rule}",
    ]


@pytest.mark.parametrize("asked", ["tset", "Test", "TEST"])
def test_a_profile_that_is_nearly_there_is_guessed(home: Path, asked: str) -> None:
    write(top=BASE + "profiles:\n  test: {name: a}\n  live: {name: b}\n")
    assert complaints("top", profiles=[asked]) == [
        f"top.yaml: profiles: no profile called {asked!r} is declared (did you mean 'test'?)"
    ]


def test_profiles_that_would_take_long_to_check_are_refused(home: Path) -> None:
    agents = "".join(f"  w{number}: {{handler: app:W}}\n" for number in range(3_000))
    profiles = "".join(f"  p{number}: {{name: x}}\n" for number in range(60))
    write(top=f"version: 1\nworkers:\n{agents}profiles:\n{profiles}")
    [line] = complaints("top")
    assert line.endswith("with each of its 60 profiles in turn, the topology holds more than 300000 values")


def test_an_included_file_without_anything_in_it_is_empty(home: Path) -> None:
    for text in ("", "# nothing yet\n", "---\n", "~\n"):
        write(top="version: 1\ninclude: part.yaml\nworkers:\n  w: {handler: app:W}\n", part=text)
        [line] = complaints("top")
        assert "version: 1" not in line
        if text != "~\n":
            assert line.endswith(": this included file is empty; put something into it, or take it out of 'include'")
    write(part="- a\n")
    assert complaints("top") == [
        "part.yaml:1:1: an included file is a mapping of keys such as 'workers', and this one holds a list"
    ]


def test_a_directory_is_not_included(home: Path) -> None:
    write(top="version: 1\ninclude: [., parts]\nworkers:\n  w: {handler: app:W}\n", parts__a="")
    assert complaints("top") == [
        "top.yaml:2:11: include: '.' is a directory; name a file",
        "top.yaml:2:14: include: 'parts' is a directory; name a file, such as 'parts/a.yaml'",
    ]


def test_a_profile_may_switch_an_agent_off_or_on(home: Path) -> None:
    write(
        top="version: 1\nworkers:\n  w: {handler: app:W}\n  v: {handler: app:V, enabled: false}\n"
        "coordinators:\n  b: {handler: app:B, workers: [v, w]}\n"
        "profiles:\n  all: {workers: {v: {enabled: true}}}\n"
    )
    assert load("top").coordinators["b"].workers == ("w",)
    assert load("top", profiles=["all"]).coordinators["b"].workers == ("v", "w")


def test_own_keys_may_stand_wherever_keys_stand_and_are_no_names(home: Path) -> None:
    write(
        top="version: 1\nx-note: a\nhub: {x-why: b}\nworkers:\n  x-ray: {handler: app:X, x-owner: me, tasks: {x-a: 1}}\n"
        "  w:\n    handler: app:W\n    environment: {x-y: z}\n"
    )
    [line] = complaints("top")
    assert line.startswith("top.yaml:8:19: workers.w.environment.x-y: the name of an environment variable")


def test_positions_point_into_a_list_from_which_a_disabled_agent_is_gone(home: Path) -> None:
    write(
        top="version: 1\nagents:\n  a: {handler: app:A, enabled: false}\n  b: {handler: app:B}\n"
        "teams:\n  t: {members: [a, b]}\n"
    )
    topology = load("top")
    assert topology.teams["t"].members == ("b",)
    assert topology.origin.at_value(("teams", "t", "members", 0), "here").column == 20


def test_own_keys_may_stand_at_the_top_of_a_profile(home: Path) -> None:
    write(top=BASE + "profiles:\n  dev: {x-why: because, workers: {w: {replicas: 1}}}\n")
    assert load("top", profiles=["dev"]).workers["w"].replicas == 1


def test_what_concerns_the_whole_is_said_of_the_first_file(home: Path) -> None:
    write(top=f"include: part.yaml\n{PROFILED}", part="agents: {p: {handler: app:P}}\n")
    assert complaints("top", profiles=["none"])[0].startswith("top.yaml: profiles: no profile")


def test_a_device_without_an_end_is_refused(home: Path) -> None:
    with pytest.raises(TopologyError, match="more than 1048576 bytes"):
        load_topology(Path("/dev/zero"), {})


def test_a_misspelt_agent_in_a_profile_is_told_with_the_one_that_is_meant(home: Path) -> None:
    write(
        top="version: 1\nworkers:\n  helper: {handler: app:W}\nprofiles:\n  dev:\n    workers:\n      helpr: {replicas: 1}\n"
    )
    [line] = complaints("top", profiles=["dev"])
    assert line.startswith("top.yaml:7:7: profiles.dev.workers.helpr: the key 'handler' is missing")
    assert line.endswith("(did you mean 'helper'?)")


def test_a_key_that_is_not_set_is_told_once(home: Path) -> None:
    write(top="version: 1\nhub: {url: 'wss://h.example', key: '${HUB_KEY}'}\nagents: {a: {handler: app:A}}\n")
    [line] = complaints("top")
    assert "HUB_KEY is not set" in line
