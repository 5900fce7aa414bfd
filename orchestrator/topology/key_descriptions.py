"""What each key of a topology file means, in a sentence that an editor shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DESCRIPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "Topology": {
        "version": "The version of the topology language: 1.",
        "name": "What this topology is called; without it, the name of the file.",
        "hub": "Where the hub is. Without this section, a local one is started with the agents and a fresh key.",
        "store": "Where durable tasks and strong claims live: memory:, sqlite:///…, nats://… or redis://…; without it, "
        "at-least-once tasks live in a file in .orchestrator.",
        "defaults": "What holds for every agent that says nothing else.",
        "coordinators": "Agents that hand out tasks, by name.",
        "workers": "Agents that take tasks, by name.",
        "agents": "Agents that are neither coordinator nor worker, by name.",
        "teams": "Agents that share a channel, its state and its claims, by the name of the team.",
        "presence": "Lobbies: who is online, and who may see it, by the name of the lobby.",
        "users": "People and programs outside, by the name of their kind.",
    },
    "Hub": {
        "url": "'local', or the ws:// or wss:// address of a hub that runs already.",
        "listen": "Where a local hub listens, host:port; port 0 is any free one.",
        "tls": "The certificate of a local hub; it is needed wherever others than this machine can reach it.",
        "key": "The key that tokens are signed with, sk_id_…:sk_secret_…: take it from a variable.",
        "token_ttl": "How long the token of an agent is valid; it is renewed before it ends.",
        "backplane": "What joins several hubs into one: memory (there is one hub), nats://… or redis://….",
    },
    "Tls": {
        "cert": "A file with the certificate and its chain, in PEM.",
        "key": "A file with the private key of the certificate, in PEM.",
    },
    "Restart": {
        "condition": "When an agent that ended is started again.",
        "delay": "How long the first restart waits.",
        "max_delay": "How long a restart waits at most; delays grow up to it.",
        "max_attempts": "Restarts within the window after which an agent counts as failed, or 'unlimited'.",
        "window": "The time over which restarts are counted.",
    },
    "Reconnect": {
        "max_attempts": "Attempts in a row to reach the hub after which an agent gives up, or 'unlimited'.",
        "max_delay": "How long an attempt waits at most; delays grow up to it.",
    },
    "Defaults": {
        "restart": "When an agent that ended is started again.",
        "reconnect": "How long an agent tries to reach its hub.",
        "start_method": "fork, or spawn for handlers whose libraries dislike fork: each then starts a fresh interpreter.",
        "watchdog": "How long a handler may block its event loop before it is reported and started again, or 'unlimited'.",
    },
    "Scopes": {
        "subscribe": "Channels that may be subscribed to besides those that follow from the file.",
        "observe": "Channels whose presence may be seen without being listed in it.",
        "publish": "Channels that may be published to besides those that follow from the file.",
        "presence": "Channels whose presence may be asked for.",
        "send": "Peers that may be sent to besides those that follow from the file.",
    },
    "Backoff": {
        "delay": "How long the second attempt of a task waits.",
        "max_delay": "How long an attempt waits at most; delays grow up to it.",
    },
    "Tasks": {
        "timeout": "How long a task may take where its caller says nothing else.",
        "delivery": "at-most-once, or at-least-once: such tasks are kept in the store until they are done.",
        "max_attempts": "How often an at-least-once task is tried in all; without it, 5 times.",
        "backoff": "How long a task waits before it is tried again.",
    },
    "Agent": {
        "handler": "The code behind it: module:Class, or module.",
        "command": "A program in any language to run instead of a handler, word by word.",
        "external": "true: somebody else runs it, and here it gets its place and its tokens.",
        "handles": "The tasks that an agent without a handler takes.",
        "enabled": "false: as if it did not stand in the file.",
        "name": "What people read; without it, the agent's name.",
        "replicas": "How many copies run, each a process with a peer id of its own; without it, one.",
        "concurrency": "Tasks that one replica takes at once; without it, 1 for a worker and 16 for others.",
        "capabilities": "Words that a task can require of the worker that takes it.",
        "restart": "When it is started again after it ended; keys that are left out come from the defaults.",
        "reconnect": "How long it tries to reach its hub; keys that are left out come from the defaults.",
        "start_method": "fork, or spawn for a handler whose libraries dislike fork; without it, that of the defaults.",
        "watchdog": "How long its handler may block the event loop, or 'unlimited'; without it, that of the defaults.",
        "environment": "Variables added to what its process inherits.",
        "inherit_environment": "false: its process inherits a short list of harmless variables alone.",
        "tasks": "How the tasks that are handed to it are delivered.",
        "scopes": "Rights besides those that follow from the file.",
    },
    "Coordinator": {"workers": "The workers, or coordinators, that it hands tasks to."},
    "Worker": {},
    "Claims": {
        "consistency": "strong (kept in the store) or best-effort; without it, strong where a store is declared.",
        "ttl": "How long a claim holds without a sign of life of its holder.",
        "allow_unsafe_claims": "true: strong claims even on a replicated Redis, where a failover may give one item to two.",
    },
    "Team": {
        "members": "The agents in it.",
        "channel": "Its channel; without it, teams/NAME/state.",
        "claims": "How its members divide items among themselves.",
    },
    "Lobby": {
        "members": "The agents that are listed in it.",
        "watchers": "Agents and users that see who is in it, and are not listed themselves.",
        "channel": "Its channel; without it, lobbies/NAME.",
    },
    "User": {
        "asks": "The agents that such a user may ask.",
        "token_ttl": "How long a token of such a user is valid.",
        "scopes": "Rights besides those that follow from the file.",
    },
}
"""By the class of the section; what a class inherits stands with the class that it comes from."""

INCLUDE: Final = "A file that this one is merged over, or several of them: paths relative to this file."
PROFILES: Final = "Changes by name, applied with --profile NAME: the same keys as above, all of which may be left out."
OWN_KEY: Final = "A key of your own: it is read by nobody, and good for anchors."
