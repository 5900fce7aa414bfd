"""`orchestrator schema`: the schema alone, on standard output."""

from __future__ import annotations

import json

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.topology.json_schema import topology_schema


def test_the_schema_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == ExitCode.DONE
    printed = capsys.readouterr()
    assert json.loads(printed.out) == topology_schema()
    assert printed.out.endswith("}\n")
    assert printed.err == ""


def test_its_help_says_how_an_editor_finds_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["schema", "--help"])
    assert exited.value.code == ExitCode.DONE
    assert "yaml-language-server: $schema=topology.schema.json" in " ".join(capsys.readouterr().out.split())
