"""docs/tracing.md: its example runs and prints what stands there, and its names are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.runtime import trace_export

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "tracing.md").read_text(encoding="utf-8")


def test_its_example_prints_what_the_document_says(tmp_path: Path) -> None:
    [example] = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    printed = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[1]
    file = tmp_path / "app.py"
    file.write_text(example, encoding="utf-8")
    done = subprocess.run([sys.executable, file], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, printed), done.stderr


@pytest.mark.parametrize(
    ("sentence", "true"),
    [
        ("for up to 2 s of the time that it has to end", trace_export.FLUSH_SECONDS == 2),
        ("pip install 'topology-orchestrator[otel]'", "[otel]" in Path(trace_export.__file__).read_text()),
        (
            "`OTEL_TRACES_EXPORTER` | `otlp`, `console`",
            trace_export.exporters({"OTEL_TRACES_EXPORTER": "console"}) != (),
        ),
    ],
)
def test_its_figures_and_names_are_those_of_the_code(sentence: str, true: bool) -> None:
    assert sentence in " ".join(TEXT.split())
    assert true
