"""`orchestrator scopes`: the table, the claims, and what a change does, as people and programs see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode

TOPOLOGY = """\
version: 1
name: news
hub: {token_ttl: 90s}
coordinators:
  editor: {handler: "n:Editor", workers: [researcher]}
workers:
  researcher: {handler: "n:Researcher", replicas: 2, scopes: {publish: [audit/drafts]}}
agents:
  bell: {external: true}
presence:
  lobby: {members: [editor], watchers: [reader]}
users:
  reader: {asks: [editor], token_ttl: 1h}
"""

EDITOR = """\
editor  coordinator  editor, tokens live 1m 30s
  relation                   subscribe      observe           publish             send to
  coordinator of researcher                 pools/researcher  tasks/researcher.*  researcher.*
  in lobby lobby             lobbies/lobby
  asked by reader, cli                                                            reader/*
                                                                                  cli/*
  claims
    sub               editor
    channels          lobbies/lobby  pools/researcher  tasks/researcher.*
    permissions       presence  publish  send  subscribe
    peerMetadata      {"kind": "agent", "agent": "editor", "name": "editor", "role": "coordinator", "capabilities": []}
    grants.subscribe  lobbies/lobby
    grants.observe    pools/researcher
    grants.publish    tasks/researcher.*
    grants.send       researcher.*  reader/*  cli/*
    rate              unlimited
  a service that knows no grants also lets it
    subscribe to      tasks/researcher.*
    publish to        lobbies/lobby  pools/researcher
    see presence of   lobbies/lobby  tasks/researcher.*
    be listed on      pools/researcher
    send to           every peer
"""

RESEARCHER = """\
researcher  worker  researcher.1 … researcher.2, tokens live 1m 30s each
  relation            subscribe         observe  publish       send to
  worker of editor    tasks/{peer}                             editor
                      pools/researcher
  asked by cli                                                 cli/*
  scopes of the file                             audit/drafts
  claims of researcher.1
    sub               researcher.1
"""

CHANGES = """\
editor
  - subscribe     lobbies/lobby
researcher.1 … researcher.2
  + publish       audit/*
researcher.3 … researcher.4  new
  + subscribe     tasks/{peer}  pools/researcher
  + publish       audit/*
  + send to       editor  cli/*
reader/{sub}
  - observe       lobbies/lobby
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "news.yaml"
    path.write_text(TOPOLOGY)
    return path


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = ExitCode.DONE) -> str:
    assert main(["scopes", *map(str, words)]) == code
    found = capsys.readouterr()
    assert not found.err
    return found.out


def test_an_agent_is_shown_with_relations_claims_and_what_flat_claims_add(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, file, "editor") == EDITOR


def test_replicas_are_shown_as_one(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, file, "researcher")
    assert out.startswith(RESEARCHER)
    assert "    publish to        tasks/{peer}  pools/researcher\n" in out


def test_one_replica_is_shown_as_itself(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, file, "researcher.2")
    assert out.startswith("researcher  worker  researcher.2, tokens live 1m 30s\n")
    assert "researcher.1" not in out


def test_without_a_name_everybody_is_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = printed(capsys, file).split("\n\n")
    assert [block.partition(" ")[0] for block in blocks] == ["editor", "researcher", "bell", "reader", "cli"]
    assert blocks[0] == EDITOR.rstrip("\n")
    assert blocks[3].startswith("reader  user  reader/{sub}, tokens live 1h\n")


def test_programs_get_every_token_as_it_is_minted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, file, "--json"))
    tokens = {section["name"]: section for section in found["tokens"]}
    assert [claims["sub"] for claims in tokens["researcher"]["claims"]] == ["researcher.1", "researcher.2"]
    assert tokens["researcher"]["relations"][0] == {
        "relation": "worker",
        "with": ["editor"],
        "subscribe": ["tasks/researcher.1", "pools/researcher"],
        "send": ["editor"],
    }
    assert tokens["reader"]["token_ttl"] == 3600
    assert tokens["reader"]["flat_also_allows"] == {"listed": ["lobbies/lobby"], "send": ["**"]}


def test_a_name_that_is_not_there_is_answered_with_the_nearest(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scopes", str(file), "resercher"]) == ExitCode.USAGE
    assert capsys.readouterr().err == (
        f"orchestrator: {file}: there is no agent or user 'resercher' (did you mean 'researcher'?)\n"
    )


def test_the_name_may_be_the_first_word_where_f_names_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "-f", file, "editor") == EDITOR


def changed(file: Path) -> Path:
    """Write the file anew, and return where it is kept as it was."""
    before = file.with_name("before.yaml")
    before.write_text(TOPOLOGY)
    text = TOPOLOGY.replace("replicas: 2", "replicas: 4").replace("audit/drafts", "audit/*")
    text = text.replace("presence:\n  lobby: {members: [editor], watchers: [reader]}\n", "")
    file.write_text(text)
    return before


def test_a_change_is_shown_peer_by_peer(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = changed(file)
    assert printed(capsys, file, "--diff", before) == CHANGES
    assert printed(capsys, file, "reader", "--diff", before) == CHANGES[CHANGES.index("reader/") :]


def test_a_change_that_grants_can_fail_a_check(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = changed(file)
    printed(capsys, file, "--diff", before, "--exit-code", code=ExitCode.FAILED)
    printed(capsys, file, "editor", "--diff", before, "--exit-code", code=ExitCode.DONE)


def test_the_other_way_round_what_was_granted_is_withdrawn(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = changed(file)
    found = json.loads(printed(capsys, before, "researcher", "--diff", file, "--json"))
    assert found["grants_more"] is False
    assert [(change["peer"], change["kind"]) for change in found["changes"]] == [
        ("researcher.1", "changed"),
        ("researcher.2", "changed"),
        ("researcher.3", "removed"),
        ("researcher.4", "removed"),
    ]
    assert found["changes"][0]["granted"] == {}
    assert found["changes"][0]["withdrawn"] == {"publish": ["audit/*"]}


def test_a_file_compared_with_itself_grants_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, file, "--diff", file, "--exit-code") == "nothing is granted, and nothing is withdrawn\n"


def test_exit_code_without_a_comparison_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["scopes", str(file), "--exit-code"])
    assert ended.value.code == ExitCode.USAGE
    assert "--exit-code goes with --diff" in capsys.readouterr().err
