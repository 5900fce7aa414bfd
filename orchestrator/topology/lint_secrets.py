"""Secrets in clear text, and tokens that several share or that live too long. No sentence repeats one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from orchestrator.errors import Problem
from orchestrator.protocol.limits import MAX_TOKEN_LIFE
from orchestrator.topology import credentials
from orchestrator.topology.lint_silence import yaml_comments
from orchestrator.topology.model import written
from orchestrator.topology.yaml_nodes import ListNode, MapNode, ScalarNode, compose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.topology.model import Agent, Topology
    from orchestrator.topology.yaml_nodes import Node, Place, Steps

_STRIPE: Final = re.compile(r"stripe", re.IGNORECASE)
"""Another service, whose publishable keys look like those of a hub."""


def lint_tokens(topology: Topology, now: float) -> Iterator[Problem]:
    """Yield tokens and keys that agents share, or that are no credentials for agents; `now` in Unix seconds."""
    holders: dict[str, tuple[str, Steps]] = {}
    for section, name, agent in topology.each_agent():
        for steps, text in _given(section, name, agent):
            for credential in dict.fromkeys(credentials.credentials_in(text)):
                if not _is_for_a_hub(credential, steps):
                    continue
                is_literal = steps in topology.origin.literals
                sentence = _life(credential, now)
                if sentence is not None and (is_literal or credentials.is_publishable_key(credential)):
                    yield replace(topology.origin.at_value(steps, sentence), code="ORC105")
                if is_literal:
                    sentence = _shared(holders.setdefault(credential, (name, steps)), name, agent)
                    if sentence is not None:
                        yield replace(topology.origin.at_value(steps, sentence), code="ORC104")


def _given(section: str, name: str, agent: Agent) -> Iterator[tuple[Steps, str]]:
    """Yield the texts that an agent's process is given, and where they stand."""
    for variable, value in agent.environment.items():
        yield (section, name, "environment", variable), value
    for index, word in enumerate(agent.command or ()):
        yield (section, name, "command", index), word


def _is_for_a_hub(credential: str, steps: Steps) -> bool:
    if credentials.is_jwt(credential):
        return credentials.is_token_of_a_hub(credential)
    return not _STRIPE.search(str(steps[-1]))


def _shared(holder: tuple[str, Steps], name: str, agent: Agent) -> str | None:
    first, steps = holder
    if first != name:
        return f"this token or key is the one of {written(steps)} too; two agents with one identity replace each other"
    if (agent.replicas or 1) > 1:
        return f"the {agent.replicas} replicas of {name!r} would share this token or key, and replace each other"
    return None


def _life(credential: str, now: float) -> str | None:
    """Say why a credential lives too long for an agent; `None` when it does not, or does not say."""
    if credentials.is_publishable_key(credential):
        return "a publishable key has no end and no peer id; an agent gets a token of its own, which is renewed"
    life = credentials.token_life(credential) if credentials.is_jwt(credential) else None
    if life is None:
        return None
    if life.ends is None:
        return "this token never expires, and a hub refuses it: it has no 'exp'"
    seconds = life.ends - (now if life.begins is None else life.begins)
    if seconds <= MAX_TOKEN_LIFE:
        return None
    return f"this token lives for {seconds / 3600:.0f} h, and a hub refuses more than {MAX_TOKEN_LIFE // 3600} h"


# -- secrets in clear text


@dataclass(frozen=True, slots=True)
class Secret:
    """Where in a file a secret stands, and how one would say what it is; the text itself is not kept."""

    place: Place
    steps: Steps
    sentence: str


def lint_clear_text(texts: Mapping[str, str]) -> Iterator[Problem]:
    """Yield every secret in the texts of topology files, profiles and comments included."""
    for source, text in texts.items():
        root, _ = compose(text, source)
        for secret in _in_node(root, ()):
            yield Problem(
                source, secret.place.line, secret.place.column, written(secret.steps), secret.sentence, "ORC108"
            )
        if next(credentials.secrets_in(text), None) is not None:
            yield from _in_comments(source, text)


FROM_A_VARIABLE: Final = "take it from a variable: ${%s}"


def _in_node(node: Node, steps: Steps) -> Iterator[Secret]:
    if isinstance(node, MapNode):
        for key, entry in node.entries.items():
            if next(credentials.secrets_in(key), None) is not None:
                yield Secret(entry.key, steps, "a secret stands here in clear text, as a key of the file")
                yield from _in_node(entry.value, (*steps, "…"))
            else:
                yield from _in_node(entry.value, (*steps, key))
    elif isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            yield from _in_node(item, (*steps, index))
    else:
        sentence = _told(node, steps)
        if sentence is not None:
            yield Secret(node.place, steps, sentence)


def _told(node: ScalarNode, steps: Steps) -> str | None:
    """Say what kind of secret a value holds; `None` for one that holds none."""
    named = [step for step in steps if isinstance(step, str)]
    name = named[-1] if named else ""
    if next(credentials.secrets_in(node.text), None) is not None:
        return "a secret stands here in clear text; " + FROM_A_VARIABLE % _variable(steps, name)
    if credentials.password_in(node.text) is not None:
        return "a password stands in this URL in clear text; " + FROM_A_VARIABLE % "PASSWORD"
    if "environment" in named[:-1] and credentials.is_secret_by_name(name, node.text):
        return f"by its name {name} is a secret, and it stands here in clear text; " + FROM_A_VARIABLE % name
    return None


def _variable(steps: Steps, name: str) -> str:
    return name if "environment" in steps[:-1] else "SECRET"


def _in_comments(source: str, text: str) -> Iterator[Problem]:
    for comment in yaml_comments(text):
        for begin, _ in credentials.secrets_in(comment.text):
            sentence = "a secret stands in this comment in clear text; take it out, and have a new one made"
            yield Problem(source, comment.line, comment.column + begin, "", sentence, "ORC108")
