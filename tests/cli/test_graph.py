"""`orchestrator graph`: each drawing holds every node and edge, says it in its language, and can be read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.graph import FORMS, drawn
from orchestrator.cli.graph_layout import BEND_HEIGHT, Layout, Point, Size, lay_out
from orchestrator.cli.graph_svg import LINE, PLATE
from orchestrator.cli.graph_words import COLOURS, INK
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.topology.graph import Edge, Graph, Node

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"

NASTY = '"<&>\\ `#; end'
GRAPH = Graph(
    "news",
    (
        Node("end", "coordinator", NASTY, "news:Editor"),
        Node("graph", "worker", "graph", "news:Writer", replicas=3),
        Node("far", "agent", "far", external=True),
        Node("reader", "user", "reader"),
        Node("desk", "team", "desk"),
        Node("lobby", "lobby", "lobby"),
    ),
    (
        Edge("end", "graph", "dispatches", ("A", "B", "C", "D", "E")),
        Edge("end", "desk", "member"),
        Edge("graph", "lobby", "listed"),
        Edge("far", "lobby", "watches"),
        Edge("reader", "end", "asks"),
    ),
)


@pytest.mark.parametrize("form", FORMS)
def test_the_tour_is_drawn_on_standard_output_alone(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(ROOT / "examples.yaml"), "--format", form]) == ExitCode.DONE
    printed = capsys.readouterr()
    assert printed.err == ""
    for word in ("code-desk", "lead", "reviewer", "narrator", "checker", "concierge", "desk", "lobby", "ReviewFile"):
        assert word in printed.out


def test_without_imports_a_drawing_knows_no_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(ROOT / "examples.yaml"), "--no-import"]) == ExitCode.DONE
    assert "ReviewFile" not in capsys.readouterr().out


def test_a_broken_file_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("version: 1\nworkers: {w: {handlr: a:B}}\n")
    assert main(["graph", str(file)]) == ExitCode.INVALID
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "did you mean 'handler'?" in printed.err


# -- for terminals


def test_text_is_a_tree_and_a_table() -> None:
    nodes = (
        Node("boss", "coordinator", "boss", "app:Boss"),
        Node("chief", "coordinator", "chief", "app:Chief"),
        Node("helper", "worker", "helper", "app:Helper", replicas=3),
        Node("far", "agent", "far", external=True),
        Node("reader", "user", "reader"),
        Node("desk", "team", "desk"),
        Node("lobby", "lobby", "lobby"),
    )
    edges = (
        Edge("boss", "chief", "dispatches", ("Plan",)),
        Edge("boss", "helper", "dispatches"),
        Edge("chief", "helper", "dispatches", ("Do",)),
        Edge("reader", "boss", "asks"),
        Edge("boss", "desk", "member"),
        Edge("far", "desk", "member"),
        Edge("helper", "lobby", "listed"),
        Edge("reader", "lobby", "watches"),
    )
    many = "\N{MULTIPLICATION SIGN}"
    assert drawn(Graph("app", nodes, edges), "text").splitlines() == [
        "app",
        "",
        "boss  coordinator  app:Boss",
        "├─ Plan → chief",
        f"│  └─ Do → helper {many} 3",
        f"└─ → helper {many} 3",
        "",
        "far  agent  run elsewhere",
        "",
        "user reader  may ask boss",
        "team desk    boss, far",
        f"lobby lobby  helper {many} 3; watched by reader",
    ]


def test_a_circle_of_coordinators_is_told_once() -> None:
    nodes = (Node("a", "coordinator", "a", "m:A"), Node("b", "coordinator", "b", "m:B"))
    circle = Graph("round", nodes, (Edge("a", "b", "dispatches"), Edge("b", "a", "dispatches")))
    assert drawn(circle, "text").splitlines() == [
        "round",
        "",
        "a  coordinator  m:A",
        "└─ → b",
        "   └─ → a  (see above)",
    ]


# -- in other languages


def test_mermaid_has_every_node_and_edge_and_escapes_labels() -> None:
    lines = drawn(GRAPH, "mermaid").splitlines()
    assert lines[:4] == ["---", 'title: "news"', "---", "flowchart LR"]
    labels = {}
    for line in lines[4:]:
        if found := re.fullmatch(r'  (n\d+)(?:\[|\(\[|\{\{|\()"([^"`\\]*)"(?:\]|\]\)|\}\}|\)):::(\w+)', line):
            labels[found[1]] = found[2]
    assert len(labels) == len(GRAPH.nodes)
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), labels["n1"].partition("<br>")[0]) == f"{NASTY} (end)"
    edges = re.findall(r'^  (n\d) (==>|-->|---|-\.->)(?:\|"([^"]*)"\|)? (n\d)$', "\n".join(lines), re.MULTILINE)
    assert edges == [
        ("n1", "==>", "A, B, C, 2 more", "n2"),
        ("n1", "---", "", "n5"),
        ("n2", "---", "", "n6"),
        ("n3", "-.->", "", "n6"),
        ("n4", "-->", "", "n1"),
    ]
    styled = [line.split()[1] for line in lines if line.startswith("  classDef ")]
    assert sorted(styled) == sorted({node.kind for node in GRAPH.nodes})
    assert len(lines) == 4 + len(labels) + len(edges) + len(styled)


QUOTED = r'"((?:[^"\\]|\\.)*)"'


def test_dot_has_every_node_and_edge_and_quotes_everything() -> None:
    begin, *lines, end = drawn(GRAPH, "dot").splitlines()
    assert (begin, end) == ('digraph "news" {', "}")
    attribute = rf"\w+=(?:{QUOTED}|[\w.]+)"
    statement = re.compile(rf"  (?:graph|node|edge|{QUOTED}(?: -> {QUOTED})?) \[{attribute}(?:, {attribute})*\];")
    for line in lines:
        assert statement.fullmatch(line), line
    assert re.findall(rf"^  {QUOTED} -> {QUOTED} ", "\n".join(lines), re.MULTILINE) == [
        (edge.source, edge.target) for edge in GRAPH.edges
    ]
    labels = re.findall(rf"^  {QUOTED} \[label={QUOTED}", "\n".join(lines), re.MULTILINE)
    assert [name for name, _ in labels] == [node.name for node in GRAPH.nodes]
    first = re.sub(r"\\(.)", lambda code: "\n" if code[1] == "n" else code[1], labels[0][1])
    assert first.split("\n") == [f"{NASTY} (end)", "coordinator", "news:Editor"]


# -- as a picture


def svg(graph: Graph) -> ET.Element:
    return ET.fromstring(drawn(graph, "svg"))


def test_svg_is_well_formed_and_says_everything() -> None:
    picture = svg(GRAPH)
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    for word in ("news", NASTY, "graph", "news:Editor", "run elsewhere", "A, B, C, 2 more", "watches", "may ask"):
        assert word in texts
    lines = [element for element in picture.iter(f"{SVG}path") if element.find(f"{SVG}title") is not None]
    assert [line.get("class") for line in lines] == [edge.kind for edge in GRAPH.edges]
    assert [group.get("class") for group in picture.iter(f"{SVG}g")] == [node.kind for node in GRAPH.nodes]
    assert picture.findtext(f"{SVG}title") == "news"
    assert "reader may ask end" in (picture.findtext(f"{SVG}desc") or "")


def test_svg_keeps_everything_within_its_view() -> None:
    picture = svg(GRAPH)
    _, _, width, height = (float(number) for number in str(picture.get("viewBox")).split())
    for box in picture.iter(f"{SVG}rect"):
        x, y, w, h = (float(str(box.get(name))) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height


def test_svg_of_an_agent_alone_has_no_legend() -> None:
    picture = svg(Graph("one", (Node("a", "agent", "a", "m:A"),), ()))
    assert [element.text for element in picture.iter(f"{SVG}text")] == ["one", "a", "agent", "m:A"]


@given(st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_no_label_breaks_a_drawing(label: str) -> None:
    graph = Graph("any", (Node("a", "agent", label, label),), ())
    ET.fromstring(drawn(graph, "svg"))
    assert drawn(graph, "dot").count("\n") == 6
    node = drawn(graph, "mermaid").split("\n")[4]
    assert node.count('"') == 2


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [*COLOURS.values(), PLATE])
def test_what_is_written_stands_out_from_what_it_stands_on(colour: str) -> None:
    assert contrast(INK, colour) >= 4.5


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_boxes_and_lines_stand_out_from_light_and_from_dark_pages(page: str) -> None:
    for colour in (*COLOURS.values(), LINE):
        assert contrast(colour, page) >= 3


# -- where things stand

NAMES = [chr(97 + number) for number in range(8)]
PAIRS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=20)
SIZES = st.fixed_dictionaries(
    {name: st.builds(Size, st.floats(40, 200), st.floats(30, 90)) for name in NAMES},
)


@given(SIZES, PAIRS)
@settings(max_examples=150, deadline=None)
def test_boxes_never_overlap_and_every_line_has_a_way(sizes: dict[str, Size], pairs: list[tuple[str, str]]) -> None:
    layout = lay_out(sizes, pairs, 90.0)
    rects = {name: corners(layout, name, size) for name, size in sizes.items()}
    for name, (left, top, right, bottom) in rects.items():
        assert -0.01 <= left <= right <= layout.width + 0.01
        assert -0.01 <= top <= bottom <= layout.height + 0.01
        for other, (left2, top2, right2, bottom2) in rects.items():
            assert name == other or right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
    for source, target in pairs:
        if source != target:
            assert (source, target) in layout.bends or (target, source) in layout.bends
    for (source, target), bends in layout.bends.items():
        xs = [rects[source][2], *(bend.x for bend in bends), rects[target][0]]
        assert xs == sorted(xs)
        for bend in bends:  # no line runs through a box
            assert not any(
                left <= bend.x <= right and top - BEND_HEIGHT < bend.y < bottom + BEND_HEIGHT
                for left, top, right, bottom in rects.values()
            )


def corners(layout: Layout, name: str, size: Size) -> tuple[float, float, float, float]:
    at: Point = layout.boxes[name]
    return at.x, at.y - size.height / 2, at.x + size.width, at.y + size.height / 2


def test_lines_lead_from_left_to_right_in_few_crossings() -> None:
    sizes = {name: Size(100, 40) for name in ("boss", "x", "y", "p", "q")}
    layout = lay_out(sizes, [("boss", "x"), ("boss", "y"), ("x", "q"), ("y", "p")], 90.0)
    at = layout.boxes
    assert at["boss"].x < at["x"].x == at["y"].x < at["p"].x == at["q"].x
    assert (at["x"].y < at["y"].y) == (at["q"].y < at["p"].y)


def test_what_leads_nowhere_else_stands_near_what_it_leads_to() -> None:
    sizes = {name: Size(100, 40) for name in ("boss", "helper", "lobby", "guest")}
    layout = lay_out(sizes, [("boss", "helper"), ("helper", "lobby"), ("guest", "lobby")], 90.0)
    assert layout.boxes["guest"].x == layout.boxes["helper"].x
