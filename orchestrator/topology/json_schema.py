"""The JSON Schema of topology files, for editors: made from the model, and never stricter than what reads them.

What spans several keys, such as names that are declared nowhere, is left to `orchestrator validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.topology import values as v
from orchestrator.topology.key_descriptions import DESCRIPTIONS, INCLUDE, OWN_KEY, PROFILES
from orchestrator.topology.kinds import KINDS
from orchestrator.topology.model import AGENT_SECTIONS, Topology
from orchestrator.topology.section import Listed, Named

if TYPE_CHECKING:
    from orchestrator.topology.section import Kind, Reader, Section

Schema: TypeAlias = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
FILE_NAME: Final = "topology.schema.json"

_VARIABLE: Final = r"\$\{"
"""Stands in every text that is filled in from a variable; what comes of it, no schema knows."""
_NAME: Final = f"[a-z][a-z0-9_-]{{0,{v.MAX_NAME - 1}}}"
_DURATION: Final = r"(0|[1-9][0-9]*)(\.[0-9]+)?(ms|s|m|h)"
_WORD: Final = r"[^\s/\\:.]+"


def _text(pattern: str | None = None) -> Schema:
    """A text; where it may be any, also what YAML takes for a number or a boolean: it is read as it was written."""
    if pattern is None:
        return {"type": ["string", "number", "boolean"]}
    return {"type": "string", "pattern": f"^({pattern})$|{_VARIABLE}"}


def _number(kind: str, least: int, most: int | None = None, *, also: str = "") -> Schema:
    texts = f"^({also})$|{_VARIABLE}" if also else _VARIABLE
    limits = {"minimum": least} if most is None else {"minimum": least, "maximum": most}
    return {"type": [kind, "string"], **limits, "pattern": texts}


def _choice(*values: str) -> Schema:
    return {"anyOf": [{"enum": list(values)}, {"type": "string", "pattern": _VARIABLE}]}


_DURATIONS: Final = _number("number", 0, also=_DURATION)

_SCALARS: Final[Mapping[Reader, Schema]] = {
    v.read_name: _text(_NAME),
    v.read_label: _text(),
    v.read_version: {"anyOf": [{"const": 1}, {"type": "string", "pattern": _VARIABLE}]},
    v.read_count: _number("integer", 1, v.MAX_COUNT),
    v.read_attempts: _number("integer", 0, also="unlimited"),
    v.read_boolean: {"type": ["boolean", "string"], "pattern": _VARIABLE},
    v.read_duration: _DURATIONS,
    v.read_positive_duration: _DURATIONS,
    v.read_watchdog: _number("number", 1, also=f"{_DURATION}|unlimited"),
    v.read_token_ttl: _DURATIONS,
    v.read_argument: _text(),
    v.read_message_name: _text(r"[^\W\d_]\w*|[^\x00-\x7f]\S*"),
    v.read_file_path: _text(),
    v.read_delivery: _choice("at-most-once", "at-least-once"),
    v.read_consistency: _choice("strong", "best-effort"),
    v.read_backplane: _text(r"memory|(nats|rediss?)://.+"),
    v.read_store: _text(r"memory:?|(sqlite|nats|rediss?)://.+"),
    v.read_handler: _text(rf"{_WORD}(\.{_WORD})*(:{_WORD})?"),
    v.read_channel: _text(),
    v.read_pattern: _text(),
    v.read_peer_pattern: _text(),
    v.read_capability: _text(),
    v.read_variable_name: _text("[A-Za-z_][A-Za-z0-9_]*"),
    v.read_variable_value: _text(),
    v.read_condition: _choice("on-failure", "always", "never"),
    v.read_start_method: _choice("fork", "spawn"),
    v.read_listen: _text(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}"),
    v.read_hub_url: _text("local|wss?://.+"),
    v.read_key: _text("|sk_id_.+:sk_secret_.+"),
}
"""What YAML may give the reader of a value, as far as a schema can say it."""


def topology_schema() -> Schema:
    """Return the schema of a whole file; a file that includes others may leave out what those hold."""
    sections: dict[str, Schema] = {}
    keys = _properties(Topology, sections)
    profiles = {"propertyNames": {"pattern": f"^({_NAME})$"}, "additionalProperties": {"$ref": "#/$defs/Profile"}}
    named = {"type": "object", "description": PROFILES, **profiles}
    profile = {**_mapping(keys), "description": "What a profile changes."}
    files = {"oneOf": [_filled_text(), {"type": "array", "items": _filled_text()}], "description": INCLUDE}
    return {
        "$schema": DIALECT,
        "title": "Topology",
        "description": "The agents that should exist, and who works with whom.",
        **_mapping({"version": keys["version"], "include": files, **keys, "profiles": named}),
        "if": {"not": {"required": ["include"]}},
        "then": _whole(),
        "$defs": {"Profile": profile, **dict(sorted(sections.items()))},
    }


def _filled_text() -> Schema:
    return {"type": "string", "minLength": 1}


def _mapping(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "patternProperties": {"^x-": {"description": OWN_KEY}},
        "additionalProperties": False,
    }


def _properties(section: type[Section], sections: dict[str, Schema]) -> dict[str, Schema]:
    """Return the keys of a section, after putting every section that they need among `sections`."""
    return {
        key: {**_schema(field.kind, sections), "description": _described(section, key), **_default(field.default)}
        for key, field in section.fields().items()
    }


def _described(section: type[Section], key: str) -> str:
    """Return what a key means. Raises `KeyError` for one that is described nowhere."""
    for kind in section.__mro__:
        if key in DESCRIPTIONS.get(kind.__name__, {}):
            return DESCRIPTIONS[kind.__name__][key]
    raise KeyError(f"{section.__name__}.{key}")


def _schema(kind: Kind, sections: dict[str, Schema]) -> Schema:
    if isinstance(kind, Listed):
        return {"type": "array", "items": _schema(kind.each, sections)}
    if isinstance(kind, Named):
        names = {"pattern": _schema(kind.name, sections)["pattern"].removesuffix(f"|{_VARIABLE}")}
        return {"type": "object", "propertyNames": names, "additionalProperties": _schema(kind.each, sections)}
    if not isinstance(kind, type):
        return dict(_SCALARS[kind])
    if kind.__name__ not in sections:
        sections[kind.__name__] = {}  # taken, should it be met again on the way
        sections[kind.__name__] = _mapping(_properties(kind, sections))
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _default(value: Any) -> Schema:
    """Return a default as a file would have it; none where leaving the key out means more than any value."""
    if isinstance(value, v.Address):
        return {"default": f"{value.host}:{value.port}"}
    if isinstance(value, float):
        return {"default": _duration(value)}
    return {"default": value} if isinstance(value, bool | int | str) else {}


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _whole() -> Schema:
    """What a file needs that is complete in itself: the keys without a default, and what runs each agent."""
    runs = {"anyOf": [{"required": [kind]} for kind in KINDS], "not": {"required": ["handler", "command"]}}
    needs: dict[str, Schema] = {}
    for key, field in Topology.fields().items():
        if isinstance(field.kind, Named) and isinstance(field.kind.each, type):
            required = _required(field.kind.each)
            entry = {**({"required": required} if required else {}), **(runs if key in AGENT_SECTIONS else {})}
            if entry:
                needs[key] = {"additionalProperties": entry}
    return {"required": _required(Topology), "properties": needs}


def _required(section: type[Section]) -> list[str]:
    return [key for key, field in section.fields().items() if field.required]
