"""`orchestrator graph`: a topology as a drawing, for documents, for browsers and for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.cli.example_text import examples
from orchestrator.cli.reading import environment, import_arguments, read_code, read_topology, topology_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse

    from orchestrator.topology.graph import Graph

FORMS: Final = ("text", "mermaid", "dot", "svg")


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    topology_arguments(parser)
    import_arguments(parser)
    parser.add_argument(
        "--format",
        dest="drawing",
        choices=FORMS,
        default="text",
        help="text for a terminal, mermaid for Markdown, dot for Graphviz, svg for browsers (default: text)",
    )
    examples(parser, "orchestrator graph topology.yaml", "orchestrator graph examples.yaml --format svg > topology.svg")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Load, inspect, plan, draw. Raises `TopologyError`."""
    from orchestrator.topology.graph import make_graph
    from orchestrator.topology.plan import make_plan

    environ = environment(args)
    topology = read_topology(args, environ)
    print(drawn(make_graph(make_plan(topology, read_code(args, topology, environ))), args.drawing), end="")
    return ExitCode.DONE


def drawn(graph: Graph, form: str) -> str:
    """Return a drawing, ending with a line break."""
    if form == "svg":
        from orchestrator.cli.graph_svg import svg

        return svg(graph)
    if form == "text":
        from orchestrator.cli.graph_text import text

        return text(graph)
    from orchestrator.cli import graph_languages

    return graph_languages.mermaid(graph) if form == "mermaid" else graph_languages.dot(graph)
