"""Files that ask for a delivery, or for claims, which nothing could keep."""

from __future__ import annotations

from typing import Final

from tests.topology.files import Broken

KEPT: Final = "tasks: {delivery: at-least-once}"
BOSS: Final = "version: 1\ncoordinators:\n  b: {handler: app:B, workers: [w]}\nworkers:\n"

FILES: Final = (
    Broken(
        "at-least-once for a command",
        BOSS + f"  w: {{command: [node, w.js], handles: [Add], {KEPT}}}\n",
        "5:64: workers.w.tasks.delivery: a program takes its tasks by message, and nothing keeps those; "
        "at-least-once is for workers with a handler",
    ),
    Broken(
        "at-least-once for a program elsewhere",
        BOSS + f"  w: {{external: true, handles: [Add], {KEPT}}}\n",
        "5:57: workers.w.tasks.delivery: a program takes its tasks by message, and nothing keeps those; "
        "at-least-once is for workers with a handler",
    ),
    Broken(
        "at-least-once for an agent that nobody hands tasks to",
        BOSS + f"  w: {{handler: app:W}}\nagents:\n  a: {{handler: app:A, {KEPT}}}\n",
        "7:41: agents.a.tasks.delivery: at-least-once is for tasks that a coordinator hands out, and none lists 'a' under "
        "its 'workers'",
    ),
    Broken(
        "at-least-once for a coordinator of nobody's",
        f"version: 1\ncoordinators:\n  b: {{handler: app:B, workers: [w], {KEPT}}}\nworkers:\n  w: {{handler: app:W}}\n",
        "3:55: coordinators.b.tasks.delivery: at-least-once is for tasks that a coordinator hands out, and none lists 'b' "
        "under its 'workers'",
    ),
    Broken(
        "at-least-once for a worker whom users alone ask",
        f"version: 1\nworkers:\n  w: {{handler: app:W, {KEPT}}}\nusers:\n  u: {{asks: [w]}}\n",
        "3:41: workers.w.tasks.delivery: at-least-once is for tasks that a coordinator hands out, and none lists 'w' under "
        "its 'workers'",
    ),
    Broken(
        "at-least-once for a worker elsewhere, and a store here",
        BOSS + f"  w: {{handler: app:W, external: true, {KEPT}}}\n",
        "5:57: workers.w.tasks.delivery: at-least-once tasks are kept in a store on this machine, which an external agent "
        "does not reach; run it here, or write 'at-most-once'",
    ),
    Broken(
        "tasks for the store from a coordinator elsewhere",
        "version: 1\nstore: sqlite:///t.db\ncoordinators:\n  b: {handler: app:B, external: true, workers: [v, w]}\n"
        f"workers:\n  v: {{handler: app:V}}\n  w: {{handler: app:W, {KEPT}}}\n",
        "4:52: coordinators.b.workers[1]: 'w' is at-least-once and takes its tasks from the store; that is on this machine, "
        "where an external coordinator does not reach it",
    ),
    Broken(
        "tasks for the store from a program",
        f"version: 1\ncoordinators:\n  b: {{command: [boss], workers: [w]}}\nworkers:\n  w: {{handler: app:W, {KEPT}}}\n",
        "3:34: coordinators.b.workers[0]: 'w' is at-least-once and takes its tasks from the store; a program hands out by "
        "message what it wants done",
    ),
    Broken(
        "strong claims of an agent elsewhere",
        "version: 1\nstore: memory\nagents:\n  a: {handler: app:A}\n  c: {handler: app:C, external: true}\n"
        "teams:\n  t: {members: [a, c]}\n",
        "7:20: teams.t.members[1]: the claims of 't' are kept in a store on this machine, which the external agent 'c' does "
        "not reach; run it here, or write 'claims: {consistency: best-effort}'",
    ),
    Broken(
        "a store at a host",
        "version: 1\nstore: sqlite://tasks.db\nagents:\n  a: {handler: app:A}\n",
        "2:8: store: the path of a file stands after three slashes: 'sqlite:///tasks.db' lies beside this file, "
        "'sqlite:////var/lib/tasks.db' does not",
    ),
    Broken(
        "tasks in an engine that forgets",
        BOSS.replace("coord", "store: 'nats://me:s3cret@host?replicas=1'\ncoord")
        + f"  w: {{handler: app:W, {KEPT}}}\n",
        "2:8: store: with 'replicas=1' a server of NATS may lose what it has acknowledged when it loses power, and the tasks "
        "of 'w' are at-least-once: write 'sync=always' beside it where the server has 'sync_interval: always', or "
        "'replicas=3' for a cluster",
    ),
    Broken(
        "claims in an engine that forgets",
        "version: 1\nstore: nats://host?replicas=1&sync=default\nagents:\n  a: {handler: app:A}\n  b: {handler: app:B}\n"
        "teams:\n  t: {members: [a, b]}\n",
        "2:8: store: with 'replicas=1' a server of NATS may lose what it has acknowledged when it loses power, and the claims "
        "of 't' are strong: write 'sync=always' beside it where the server has 'sync_interval: always', or "
        "'replicas=3' for a cluster",
    ),
)
