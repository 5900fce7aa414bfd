"""`orchestrator validate` and `orchestrator plan`: what they print, where, and the code they exit with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "examples.yaml", *sorted((ROOT / "topologies").glob("*.yaml"))]

HANDLERS = """
from orchestrator import Event, Presence, Task, Team, Workers, agent, on_event, task

class Add(Task[int]):
    left: int
    right: int

@agent
class Boss:
    workers: Workers
    club: Team

@agent
class Adder:
    @task
    async def add(self, job: Add) -> int:
        return job.left + job.right

@agent
class Idle:
    pass
"""

TOPOLOGY = """\
version: 1
name: sums
hub: {listen: "127.0.0.1:7700", token_ttl: 90s}
coordinators:
  boss: {handler: "sums:Boss", workers: [adder], environment: {TOKEN: "${TOKEN:-sesame}"}}
workers:
  adder: {handler: "sums:Adder", replicas: 2, concurrency: 4}
agents:
  idle: {handler: "sums:Idle"}
teams:
  club: {members: [boss]}
presence:
  lobby: {members: [adder], watchers: [reader]}
users:
  reader: {asks: [boss, adder]}
"""

PLAN = """\
sums: 3 agents, 4 replicas, 1 team, 1 lobby, 1 kind of user
hub started here, on 127.0.0.1, port 7700; tokens of agents live 90s

boss  coordinator  sums:Boss
  replicas      1 process  boss
  tasks at once 16
  subscribe     teams/club/state
  observe       pools/adder
  publish       tasks/adder.*  teams/club/state
  send to       adder.*  reader/*
  dispatches    Add → adder

adder  worker  sums:Adder
  replicas      2 processes  adder.1 … adder.2
  tasks at once 4
  subscribe     tasks/{peer}  pools/adder  lobbies/lobby
  send to       boss  reader/*  cli/*

idle  agent  sums:Idle
  replicas      1 process  idle

reader  user
  peer id       reader/{sub}  tokens live 1h
  observe       lobbies/lobby
  send to       boss  adder.*

cli  built-in user, for --ask
  peer id       cli/{sub}  tokens live 1h
  send to       adder.*
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "sums.py").write_text(HANDLERS)
    path = tmp_path / "sums.yaml"
    path.write_text(TOPOLOGY)
    return path


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: path.name)
def test_every_topology_that_we_ship_is_valid(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(shipped)]) == ExitCode.DONE
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{shipped}: ok: ")
    assert printed.err == ""


def test_a_valid_file_is_summed_up_and_a_warning_does_not_fail_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(file)]) == ExitCode.DONE
    printed = capsys.readouterr()
    assert printed.out == f"{file}: ok: 3 agents, 4 replicas, 1 team, 1 lobby, 1 kind of user\n"
    assert printed.err.splitlines() == [
        f"{file}:15:19: warning: users.reader.asks[0]: 'boss' handles no task, so it cannot answer 'reader'",
        "   15 |   reader: {asks: [boss, adder]}",
        "      |                   ^",
    ]


def test_with_strict_a_warning_fails_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(file), "--strict"]) == ExitCode.INVALID
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("^\n\n1 warning, and --strict takes none\n")


def test_with_strict_a_file_without_warnings_is_as_valid_as_before(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(TOPOLOGY.replace("asks: [boss, adder]", "asks: [adder]"))
    assert main(["validate", str(file), "--strict"]) == ExitCode.DONE
    assert capsys.readouterr().err == ""


def test_three_mistakes_give_three_lines_and_exit_code_3(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = TOPOLOGY.replace("  adder: {handler", "  addr: {handler").replace("replicas: 2", "replicas: two")
    file.write_text(text.replace("concurrency: 4", "concurency: 4"))
    assert main(["validate", str(file)]) == ExitCode.INVALID
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith(str(file))]
    assert lines[:3] == [
        f"{file}:5:42: coordinators.boss.workers[0]: no worker called 'adder' is declared (did you mean 'addr'?)",
        f"{file}:7:43: workers.addr.replicas: expected a whole number of at least 1, found 'two'",
        f"{file}:7:48: workers.addr.concurency: unknown key 'concurency' (did you mean 'concurrency'?)",
    ]
    assert [line.split(": ")[1] for line in lines[3:]] == ["presence.lobby.members[0]", "users.reader.asks[1]"]
    assert printed.err.endswith("\n\n5 mistakes\n")


def test_each_mistake_is_shown_in_its_line_with_a_caret_under_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(TOPOLOGY.replace("members: [boss]", "members: [bos]"))
    assert main(["validate", str(file)]) == ExitCode.INVALID
    assert capsys.readouterr().err.splitlines() == [
        f"{file}:11:20: teams.club.members[0]: no agent called 'bos' is declared (did you mean 'boss'?)",
        "   11 |   club: {members: [bos]}",
        "      |                    ^",
    ]


def test_a_mistake_in_the_syntax_is_shown_in_its_line_too(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(TOPOLOGY.replace("members: [boss]}", "members: [boss}"))
    assert main(["validate", str(file)]) == ExitCode.INVALID
    assert "\n   11 |   club: {members: [boss}\n" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"]])
def test_mistakes_as_json_are_all_that_stands_on_standard_output(
    file: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(TOPOLOGY.replace("members: [boss]", "members: [bos]"))
    assert main(["validate", str(file), *option]) == ExitCode.INVALID
    printed = capsys.readouterr()
    [mistake] = json.loads(printed.out)
    assert (mistake["source"], mistake["line"], mistake["column"]) == (str(file), 11, 20)
    assert mistake["severity"] == "error"
    assert printed.err == ""


def test_warnings_as_json_leave_a_file_valid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(file), "--json"]) == ExitCode.DONE
    printed = capsys.readouterr()
    assert [warning["severity"] for warning in json.loads(printed.out)] == ["warning"]
    assert printed.err == ""


def test_annotations_stand_on_standard_output(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(file), "--format", "github"]) == ExitCode.DONE
    warning, summary = capsys.readouterr().out.splitlines()
    assert warning.startswith(
        f"::warning file={file},line=15,col=19,title=users.reader.asks[0]::users.reader.asks[0]: "
    )
    assert summary.startswith(f"{file}: ok: ")


def test_64_the_line_of_a_mistake_is_shown_without_the_secrets_in_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hazard 64: a secret in clear text in the file is repeated by no form of a complaint."""
    file.write_text(TOPOLOGY.replace('{TOKEN: "${TOKEN:-sesame}"}', "{API_KEY: canary}, wrkers: []"))
    for form in ("text", "json", "github"):
        assert main(["validate", str(file), "--format", form]) == ExitCode.INVALID
        printed = capsys.readouterr()
        assert "canary" not in printed.out + printed.err
        if form == "text":
            assert "{API_KEY: ***}, wrkers: []" in printed.err


def test_mistakes_of_the_code_are_told_at_their_places_in_the_file(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(TOPOLOGY.replace("sums:Adder", "sums:Addr").replace("club:", "club-2:"))
    assert main(["validate", str(file)]) == ExitCode.INVALID
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(file))]
    assert lines == [
        (
            f"{file}:5:19: coordinators.boss.handler: the attribute 'club' of sums:Boss names no team of this file"
            " (did you mean 'club_2'?)"
        ),
        f"{file}:7:20: workers.adder.handler: module 'sums' has no class 'Addr' (did you mean 'Adder'?)",
    ]


def test_an_import_that_raises_is_shown_where_the_user_wrote_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.with_name("sums.py").write_text("print('loading')\nraise ValueError('no model')\n")
    assert main(["validate", str(file)]) == ExitCode.INVALID
    assert capsys.readouterr().err.splitlines()[:8] == [
        f"{file}:5:19: coordinators.boss.handler: importing it raised ValueError: no model",
        '    5 |   boss: {handler: "sums:Boss", workers: [adder], environment: {TOKEN: "${TOKEN:-***}"}}',
        "      |                   ^",
        f'    File "{file.with_name("sums.py")}", line 2, in <module>',
        "      raise ValueError('no model')",
        "    ValueError: no model",
        "    it printed:",
        "      loading",
    ]


def test_without_imports_no_handler_is_run(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = file.with_name("ran")
    file.with_name("sums.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    assert main(["validate", str(file), "--no-import"]) == ExitCode.DONE
    assert capsys.readouterr().out.endswith("1 kind of user; handlers were not imported\n")
    assert not ran.exists()


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path / "no.yaml")]) == ExitCode.INVALID
    assert capsys.readouterr().err == f"{tmp_path / 'no.yaml'}: the file cannot be read: no such file or directory\n"


def test_the_plan_is_a_table_of_all_that_would_run(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(file)]) == ExitCode.DONE
    assert capsys.readouterr().out == PLAN


def test_the_plan_as_json_holds_the_claims_and_no_secret(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["plan", str(file), "--json"]) == ExitCode.DONE
    out = capsys.readouterr().out
    plan = json.loads(out)
    assert "sesame" not in out
    assert plan["hub"] == {"url": None, "host": "127.0.0.1", "port": 7700, "token_ttl": 90.0}
    boss = plan["replicas"][0]
    assert boss["environment"] == ["TOKEN"]
    assert boss["permissions"] == ["presence", "publish", "send", "subscribe"]
    assert boss["grants"]["publish"] == ["tasks/adder.*", "teams/club/state"]
    assert boss["pools"][0]["tasks"][0]["name"] == "Add"
    assert [user["user"] for user in plan["users"]] == ["reader", "cli"]
    assert plan["warnings"][0]["line"] == 15


KEPT = """
boss  coordinator  sums:Boss
  replicas      1 process  boss
  tasks at once 16
  store         keeps tasks for adder  keeps claims of club
  subscribe     teams/club/state
  observe       pools/adder
  publish       tasks/adder.*  teams/club/state
  send to       adder.*  reader/*
  dispatches    Add → adder

adder  worker  sums:Adder
  replicas      2 processes  adder.1 … adder.2
  tasks at once 4
  delivery      at least once  3 attempts  up to 1s … 1m between two
  store         takes its tasks
"""


def test_the_plan_says_who_does_what_with_the_store(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = "concurrency: 4, tasks: {delivery: at-least-once, max_attempts: 3}"
    file.write_text(TOPOLOGY.replace("name: sums", "store: memory\nname: sums").replace("concurrency: 4", kept))
    assert main(["plan", str(file)]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.splitlines()[2] == "store memory:"
    assert KEPT in out
    assert main(["plan", str(file), "--json"]) == ExitCode.DONE
    plan = json.loads(capsys.readouterr().out)
    assert plan["store"] == "memory:"
    assert plan["replicas"][0]["store"] == {"agent": "boss", "claims": False, "queues": ["adder"], "teams": ["club"]}
    assert plan["replicas"][1]["delivery"] == {"max_attempts": 3, "delay": 1.0, "max_delay": 60.0}


def test_the_password_of_a_store_is_in_no_plan(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(TOPOLOGY.replace("name: sums", "store: 'redis://me:canary@r.example'\nname: sums"))
    for more in ([], ["--json"]):
        assert main(["plan", str(file), *more]) == ExitCode.DONE
        out = capsys.readouterr().out
        assert "redis://…" in out
        assert "canary" not in out


def test_64_the_hubs_key_is_in_no_output(file: Path, tmp_path: Path) -> None:
    """Hazard 64: neither plan, nor validate, nor a complaint repeats a key that came from a variable."""
    file.write_text(TOPOLOGY.replace("hub: {", "hub: {key: '${KEY}', "))
    for verb, environ in (("plan", "sk_id_a:sk_secret_" + "canary" * 8), ("validate", "sk_id_canary")):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "orchestrator", verb, "--no-import", str(file)],
            env={"KEY": environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (ExitCode.DONE if verb == "plan" else ExitCode.INVALID)
        assert "canary" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
