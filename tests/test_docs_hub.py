"""Every sentence of docs/hub.md that promises something names the tests that hold it, and those exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
DOCUMENT = (TESTS.parent / "docs" / "hub.md").read_text(encoding="utf-8")
NAME = re.compile(r"`(test_\w+)`")


def existing() -> set[str]:
    return {
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def promises() -> list[str]:
    """Return the items of the document's lists, and the rows of its table of limits."""
    items = re.findall(r"^- (.*?)(?=^- |^$|^#|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    limits = DOCUMENT.partition("### Limits")[2].partition("\n- ")[0]
    return items + re.findall(r"^\| [^-|\n].*", limits, re.MULTILINE)


def test_every_test_that_the_document_names_exists() -> None:
    assert sorted(set(NAME.findall(DOCUMENT)) - existing()) == []


def test_every_promise_names_a_test() -> None:
    found = promises()
    assert len(found) > 50
    assert [promise for promise in found if not NAME.search(promise)] == []
