"""Hazard 46: how long a comparison takes must not tell how much of a secret was right.

Secrets are compared by `hmac.compare_digest`, and signatures by PyJWT; `==` on one of them is found here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1] / "orchestrator"
SECRET = re.compile(
    r"(^|_)(secret|secrets|signature|signatures|digest|password|passphrase|credential|credentials|bearer|hmac|mac"
    r"|api_?key|authorization|jwt|token|pair)$",
    re.IGNORECASE,
)
COMPARING = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
METHODS = {"startswith", "endswith", "__eq__", "__ne__", "index", "find", "count"}
PLAIN = {
    ("protocol/globs.py", "token == '/'"),  # a piece of a pattern
    ("topology/values.py", "value == ''"),
}
"""Comparisons of what only sounds like a secret."""


def named(node: ast.AST) -> Iterator[str]:
    """Yield the names of the values that `node` is made of: variables, attributes, and keys of look-ups."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Subscript):
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            yield node.slice.value
        yield from named(node.value)
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for item in node.elts:
            yield from named(item)
    elif isinstance(node, ast.Call):  # what is made of a secret is one: its encoding, a part, a digest of it
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("encode", "decode", "strip", "hexdigest"):
            yield from named(node.func.value)
            yield node.func.attr
    elif isinstance(node, ast.BinOp):
        yield from named(node.left)
        yield from named(node.right)
    elif isinstance(node, ast.JoinedStr | ast.FormattedValue | ast.NamedExpr):
        for child in ast.iter_child_nodes(node):
            yield from named(child)


def is_secret(node: ast.AST) -> bool:
    return any(SECRET.search(name) or name == "hexdigest" for name in named(node))


def is_public(node: ast.AST) -> bool:
    """Tell whether a value is written in the code, and so is nobody's secret."""
    return isinstance(node, ast.Constant)


def careless(source: str) -> Iterator[str]:
    """Yield the comparisons of a module that stop at the first difference, and have a secret in them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            ordinary = any(isinstance(operator, COMPARING) for operator in node.ops)
            empty = any(isinstance(side, ast.Constant) and side.value in ("", None) for side in sides)
            if ordinary and not empty and any(map(is_secret, sides)):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            told = any(map(is_secret, node.args))
            asked = is_secret(node.func.value) and not all(map(is_public, node.args))
            if told or asked:
                yield ast.unparse(node)
        elif isinstance(node, ast.Match) and is_secret(node.subject):
            yield f"match {ast.unparse(node.subject)}"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_46_no_secret_is_compared_in_a_time_that_tells_of_it(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    assert [text for text in careless(path.read_text("utf-8")) if (where, text) not in PLAIN] == []


def test_46_secrets_are_compared_by_compare_digest_and_signatures_by_pyjwt() -> None:
    """Otherwise there would be nothing to be careless with."""
    assert "hmac.compare_digest" in (ROOT / "hub/keys.py").read_text("utf-8")
    tokens = (ROOT / "protocol/tokens.py").read_text("utf-8")
    assert "HMACAlgorithm(HMACAlgorithm.SHA256)" in tokens
    assert "_hs256().verify(" in tokens
    assert "verify_signature" not in tokens


@pytest.mark.parametrize(
    "source",
    [
        "key.secret == given",
        "given != key.secret",
        "(a.secret, a.app) == (b.secret, b.app)",
        "given in (one.secret, other.secret)",
        "fields['secret'] == given",
        "hmac.new(key, text).hexdigest() == given",
        "key.secret.encode() == given",
        "f'{id}:{secret}' == given",
        "id + secret == given",
        "given.startswith(key.secret)",
        "key.secret.startswith(given)",
        "admin_token == given",
        "match given_signature:\n  case 1: pass",
        "if (token := read()) == wanted: pass",
    ],
)
def test_a_careless_comparison_is_found(source: str) -> None:
    assert list(careless(source))


@pytest.mark.parametrize(
    "source",
    [
        "hmac.compare_digest(key.secret, given)",
        "key.secret is None",
        "secret == ''",
        "key.id == given",
        "len(key.secret) < 32",
        "secret.startswith('sk_secret_')",
        "keys.get(token)",
        "tokens == 3",
    ],
)
def test_a_comparison_that_tells_nothing_is_not(source: str) -> None:
    assert not list(careless(source))
