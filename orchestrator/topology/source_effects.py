"""Calls that change something outside of their process, told by their looks: a list of what is known to do so.

What is not known is no effect, so that nothing is held against a handler that only keeps what it hears.
"""

from __future__ import annotations

import ast
import re
from typing import Final

ANYTHING: Final = frozenset({"*"})
OF_MODULES: Final[dict[str, frozenset[str]]] = {
    "os": frozenset({"remove", "unlink", "rename", "replace", "mkdir", "makedirs", "rmdir", "removedirs", "system"}),
    "shutil": frozenset({"copy", "copy2", "copyfile", "copytree", "move", "rmtree"}),
    "subprocess": ANYTHING,
    "smtplib": ANYTHING,
    "requests": frozenset({"post", "put", "patch", "delete"}),
    "httpx": frozenset({"post", "put", "patch", "delete"}),
}
METHODS: Final = frozenset(
    {
        "write_text",
        "write_bytes",
        "unlink",
        "symlink_to",
        "executemany",
        "executescript",
        "commit",
        "post",
        "patch",
        "insert_one",
        "insert_many",
        "update_one",
        "update_many",
        "delete_one",
        "delete_many",
        "send_message",
        "sendmail",
        "put_object",
        "upload_file",
        "create_subprocess_exec",
        "create_subprocess_shell",
    }
)
HARMLESS: Final = frozenset({"asyncio", "anyio", "contextlib", "logging", "structlog", "orchestrator"})
"""Modules whose functions one may await for nothing but the waiting."""


def effect_of(node: ast.Call, name: str, *, is_dropped: bool, origin: str) -> str | None:
    """Say what a call does, as a clause; `None` for what is not known to do anything.

    `name` is its dotted name, if it has one, and `origin` the whole name of what that imports, or empty. `is_dropped`
    when it is awaited and nobody keeps what it returns: then an imported function can only have been called for what
    it does.
    """
    head, _, rest = origin.partition(".")
    of_module = OF_MODULES.get(head, frozenset())
    if rest and (of_module is ANYTHING or rest in of_module):
        return f"calls {name}"
    if name == "open" and _opens_to_write(node):
        return "writes a file"
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if method in METHODS or (method == "execute" and _changes(node)):
        return f"calls {name or method}"
    if is_dropped and origin and head not in HARMLESS:
        return f"awaits {name} for nothing but its effect"
    return None


def _opens_to_write(node: ast.Call) -> bool:
    modes = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    return any(
        isinstance(it, ast.Constant) and isinstance(it.value, str) and set(it.value) & set("wax+") for it in modes
    )


_CHANGES: Final = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|REPLACE|MERGE|CREATE|DROP|ALTER|TRUNCATE)\b", re.IGNORECASE)


def _changes(node: ast.Call) -> bool:
    """Tell whether a statement of SQL, written out or put together by functions of that name, changes something."""
    statement = node.args[0] if node.args else None
    while isinstance(statement, ast.Call | ast.Attribute):  # insert(table).values(...), text("INSERT ...")
        name = statement.func if isinstance(statement, ast.Call) else statement.value
        if isinstance(name, ast.Name):
            is_text = name.id == "text" and isinstance(statement, ast.Call) and statement.args
            statement = statement.args[0] if is_text and isinstance(statement, ast.Call) else ast.Constant(name.id)
        else:
            statement = name
    if isinstance(statement, ast.JoinedStr) and statement.values:
        statement = statement.values[0]
    text = statement.value if isinstance(statement, ast.Constant) else None
    return isinstance(text, str) and _CHANGES.match(text) is not None
