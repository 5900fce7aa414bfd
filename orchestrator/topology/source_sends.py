"""Raw sends: what looks like one, what catches that it failed, and when a loop of them is a stream."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from orchestrator.topology.source_names import dotted, used

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

CATCHING: Final = frozenset(
    {"PeerNotFound", "RequestRefused", "ConnectionProblem", "OrchestratorError", "Exception", "BaseException"}
)
"""What a handler of a failed send catches, one way or another."""
_SEND_OPTIONS: Final = frozenset({"peer", "data", "when_disconnected", "deadline", "in_parts"})


def is_raw_send(node: ast.Call) -> bool:
    """Tell whether a call looks like ``connection.send(peer, data)``, and not like that of a generator or socket."""
    if not (isinstance(node.func, ast.Attribute) and node.func.attr == "send"):
        return False
    if any(isinstance(arg, ast.Starred) for arg in node.args) or len(node.args) > 2:
        return False
    named = {keyword.arg for keyword in node.keywords}
    if not named <= _SEND_OPTIONS or len(node.args) + len(named & {"peer", "data"}) != 2:
        return False
    return len(node.args) < 2 or not _is_flags(node.args[1])


def _is_flags(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr)
    if isinstance(node, ast.Attribute):
        return node.attr.isupper()
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _peer_and_data(node: ast.Call) -> tuple[ast.expr, ast.expr]:
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    peer = node.args[0] if node.args else named["peer"]
    return peer, node.args[1] if len(node.args) > 1 else named["data"]


def streams(node: ast.Call, loops: Iterable[Set[str]]) -> bool:
    """Tell whether a raw send gives one peer what each round brings of one of the loops, told by the names they bind."""
    peer, data = _peer_and_data(node)
    return any(not used(peer) & bound and used(data) & bound for bound in loops)


def catches(node: ast.expr) -> bool:
    """Tell whether an exception type, or one of several, is one that a failed send raises."""
    types = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(dotted(each).rpartition(".")[2] in CATCHING for each in types)
