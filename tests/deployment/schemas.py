"""The public schemas of Compose and Kubernetes, and the programs that judge files of theirs, as packages ship them."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

VERSIONS: Final = ("1.32.0", "1.37.0")
"""The oldest Kubernetes that the files are for, and a late one."""


def compose_problems(document: dict[str, Any]) -> list[str]:
    """Return what the specification of Compose has against a file."""
    folder = _folder("check_jsonschema", "check-jsonschema")
    schema = json.loads((folder / "builtin_schemas" / "vendor" / "compose-spec.json").read_bytes())
    return _problems(Draft202012Validator(schema), document)


def kubernetes_problems(document: dict[str, Any], version: str) -> list[str]:
    """Return what a version of Kubernetes has against an object, fields that it does not know among it."""
    folder = _folder("kubernetes_validate", "kubernetes-validate")
    group, _, api = document["apiVersion"].rpartition("/")
    short = f"{group.partition('.')[0]}-{api}" if group else api
    file = folder / "kubernetes-json-schema" / f"v{version}-local-strict" / f"{document['kind'].lower()}-{short}.json"
    return _problems(_kubernetes(file), document)


@functools.cache
def _kubernetes(file: Path) -> Draft202012Validator:
    registry: Registry[Any] = _definitions(file.with_name("_definitions.json")) @ Registry()
    return Draft202012Validator(json.loads(file.read_bytes()), registry=registry)


@functools.cache
def _definitions(file: Path) -> Resource[Any]:
    return Resource.from_contents(json.loads(file.read_bytes()))


def _problems(validator: Draft202012Validator, document: dict[str, Any]) -> list[str]:
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(document)]


@functools.cache
def _folder(module: str, package: str) -> Path:
    """Return where a package lies, without importing it: of it, only data are needed."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        missing(f"needs the schemas of the package {package}")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def program(name: str, package: str) -> str:
    """Return the path of a program."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        missing(f"needs {name}, which is in {package}")
    assert found is not None
    return found


def missing(sentence: str) -> None:
    """Skip a test for want of something, or fail it where nothing is to be skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
