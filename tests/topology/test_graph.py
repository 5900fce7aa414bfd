"""The graph of a topology: its nodes, and who leads to whom."""

from __future__ import annotations

import pytest

from orchestrator.topology.graph import Edge, Graph, Node, make_graph
from orchestrator.topology.plan import make_plan
from tests.topology.files import DESK, DESK_REPORTS, read


def graph(text: str) -> Graph:
    return make_graph(make_plan(read(text), None))


NEWSROOM = """\
version: 1
coordinators:
  editor: {handler: news:Editor, workers: [translator, chief]}
  chief: {handler: news:Chief, name: The chief, workers: [editor]}
workers:
  translator: {command: [node, translator.js, --api-key, canary], handles: [Translate, Check]}
agents:
  far: {external: true, enabled: true}
  gone: {handler: news:Gone, enabled: false}
presence:
  lobby: {members: [far], watchers: [far, reader]}
users:
  reader: {asks: [editor]}
"""


def test_the_desk_as_nodes_and_edges() -> None:
    drawn = make_graph(make_plan(read(DESK), DESK_REPORTS))
    assert drawn.name == "code-desk"
    assert [(node.name, node.kind, node.replicas) for node in drawn.nodes] == [
        ("lead", "coordinator", 1),
        ("reviewer", "worker", 3),
        ("narrator", "worker", 1),
        ("checker", "agent", 2),
        ("concierge", "agent", 1),
        ("desk", "team", 1),
        ("lobby", "lobby", 1),
    ]
    assert drawn.edges_of("dispatches") == (
        Edge("lead", "reviewer", "dispatches", ("ReviewFile",)),
        Edge("lead", "narrator", "dispatches", ("Narrate",)),
    )
    assert [(edge.source, edge.target) for edge in drawn.edges_of("member")] == [("lead", "desk"), ("checker", "desk")]
    assert [edge.source for edge in drawn.edges_of("listed")] == ["lead", "reviewer", "narrator", "checker"]
    assert drawn.edges_of("watches") == (Edge("concierge", "lobby", "watches"),)


def test_circles_programs_and_users() -> None:
    drawn = graph(NEWSROOM)
    assert {node.name for node in drawn.nodes} == {"editor", "chief", "translator", "far", "reader", "lobby"}
    assert drawn.node("chief") == Node("chief", "coordinator", "The chief", "news:Chief")
    assert drawn.node("far").external
    assert Edge("editor", "translator", "dispatches", ("Translate", "Check")) in drawn.edges
    assert Edge("editor", "chief", "dispatches") in drawn.edges
    assert Edge("chief", "editor", "dispatches") in drawn.edges
    assert Edge("reader", "editor", "asks") in drawn.edges
    assert [edge.kind for edge in drawn.edges if edge.source == "far"] == ["listed", "watches"]
    assert [edge.source for edge in drawn.edges_of("watches")] == ["far", "reader"]


def test_a_secret_among_the_words_of_a_command_is_not_drawn() -> None:
    assert graph(NEWSROOM).node("translator").program == "node translator.js --api-key ***"


def test_the_built_in_user_is_left_out() -> None:
    assert graph(DESK).of_kind("user") == ()
    with pytest.raises(KeyError):
        graph(DESK).node("cli")
