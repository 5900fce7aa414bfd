"""Each code has a page; what the page shows first is a case of it, what it shows as repaired is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.topology.explanations import CODES, explanation
from tests.topology.linting import THREE, findings, places

DOCUMENT = Path(__file__).parents[2] / "docs" / "lint.md"


def examples(code: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", explanation(code), re.MULTILINE | re.DOTALL)


def found(language: str, text: str) -> set[str]:
    return {code for code, _ in (places(THREE, {"app": text}) if language == "python" else places(text))}


@pytest.mark.parametrize("code", CODES)
def test_a_page_shows_a_case_and_its_repair(code: str) -> None:
    case, repaired = examples(code)
    assert code in found(*case)
    assert found(*repaired) == set()


@pytest.mark.parametrize("code", CODES)
def test_a_page_says_what_to_do(code: str) -> None:
    page = explanation(code)
    assert page.startswith(f"## {code}: ")
    assert "\n**Repair.** " in page
    assert "\n**Keep it** " in page
    assert f"# orc: ignore[{code}] " in page


def test_the_document_holds_every_page_in_order() -> None:
    pages = "\n".join(explanation(code) for code in CODES)
    assert DOCUMENT.read_text(encoding="utf-8").endswith(f"\n\n{pages}")


def test_there_is_no_page_on_what_is_no_code() -> None:
    with pytest.raises(KeyError):
        explanation("../ORC101")


def test_the_document_shows_findings_as_they_are_told() -> None:
    shown = re.findall(
        r"warning: \S+ (.*)", DOCUMENT.read_text(encoding="utf-8").partition("```text")[2].partition("```")[0]
    )
    told = " ".join(findings(examples("ORC106")[0][1]) + findings(THREE, {"app": examples("ORC102")[0][1]}))
    assert len(shown) == 2
    assert [line for line in shown if line not in told] == []
