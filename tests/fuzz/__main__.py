"""Look for bytes that a target does not stand: ``python -m tests.fuzz TARGET [libFuzzer options]``.

It needs atheris (``--group fuzz``). What breaks a target lands in ``tests/fuzz/corpus``, where it is a test from then
on; what reached new code and broke nothing is collected in ``.fuzz``, and ``python -m tests.fuzz TARGET keep`` takes
over from there what the corpus lacks.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path(".fuzz")


def fuzz(target: str, options: list[str]) -> None:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["orchestrator", "jwt"]):
        targets = importlib.import_module("tests.fuzz.targets")
    (FOUND / target).mkdir(parents=True, exist_ok=True)
    fixed = [f"-artifact_prefix={CORPUS / target}/", f"-dict={CORPUS.with_name('json.dict')}", "-max_len=2048"]
    atheris.Setup([sys.argv[0], *fixed, *options, str(FOUND / target), str(CORPUS / target)], targets.TARGETS[target])
    atheris.Fuzz()


def keep(target: str) -> None:
    targets, keeping = (importlib.import_module(f"tests.fuzz.{name}") for name in ("targets", "keeping"))
    count = keeping.keep(targets.TARGETS[target], CORPUS / target, FOUND / target)
    print(f"{count} more inputs of {target} are kept")


if sys.argv[2:] == ["keep"]:
    keep(sys.argv[1])
else:
    fuzz(sys.argv[1], sys.argv[2:])
