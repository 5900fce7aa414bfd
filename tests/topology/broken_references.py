"""Files that name what they do not declare, or declare it twice."""

from __future__ import annotations

from typing import Final

from tests.topology.files import Broken

FILES: Final = (
    Broken(
        "a coordinator without workers",
        "version: 1\ncoordinators:\n  c: {handler: app:C}\n",
        "3:3: coordinators.c: the key 'workers' is missing",
    ),
    Broken(
        "a coordinator with an empty list",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: []}\n",
        "3:32: coordinators.c.workers: at least one worker must be listed here",
    ),
    Broken(
        "workers that are no list",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: w}\nworkers:\n  w: {handler: app:W}\n",
        "3:32: coordinators.c.workers: expected a list, found 'w'; write [w]",
    ),
    Broken(
        "a worker that is a number",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: [3]}\nworkers:\n  w: {handler: app:W}\n",
        "3:33: coordinators.c.workers[0]: a name begins with a small letter and holds only small letters, digits, '-' and '_'",
    ),
    Broken(
        "a worker that is nothing",
        (
            "version: 1\n"
            "coordinators:\n"
            "  c:\n"
            "    handler: app:C\n"
            "    workers:\n"
            "      -\n"
            "workers:\n"
            "  w: {handler: app:W}\n"
        ),
        "6:8: coordinators.c.workers[0]: expected a name, found nothing",
    ),
    Broken(
        "a dangling worker with a near name",
        (
            "version: 1\n"
            "coordinators:\n"
            "  c: {handler: app:C, workers: [reviewer]}\n"
            "workers:\n"
            "  reviewr: {handler: app:W}\n"
        ),
        "3:33: coordinators.c.workers[0]: no worker called 'reviewer' is declared (did you mean 'reviewr'?)",
    ),
    Broken(
        "a dangling worker with none near",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: [zebra]}\nworkers:\n  w: {handler: app:W}\n",
        "3:33: coordinators.c.workers[0]: no worker called 'zebra' is declared; the file declares 'w'",
    ),
    Broken(
        "an agent as a worker",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: [a]}\nagents:\n  a: {handler: app:A}\n",
        "3:33: coordinators.c.workers[0]: 'a' is declared under 'agents', and here stand only names under 'workers' and 'coordinators'",
    ),
    Broken(
        "a coordinator as its own worker",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: [c]}\n",
        "3:33: coordinators.c.workers[0]: 'c' cannot be its own worker",
    ),
    Broken(
        "a worker listed twice",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: [w, w]}\nworkers:\n  w: {handler: app:W}\n",
        "3:36: coordinators.c.workers[1]: 'w' is listed twice",
    ),
    Broken(
        "a dangling team member",
        "version: 1\nteams:\n  t: {members: [w, v]}\nworkers:\n  w: {handler: app:W}\n",
        "3:20: teams.t.members[1]: no agent called 'v' is declared; the file declares 'w'",
    ),
    Broken(
        "a user in a team",
        "version: 1\nteams:\n  t: {members: [w, u]}\nusers:\n  u: {asks: [w]}\nworkers:\n  w: {handler: app:W}\n",
        "3:20: teams.t.members[1]: 'u' is declared under 'users', and here stand only names under 'coordinators', 'workers' and 'agents'",
    ),
    Broken(
        "a dangling watcher",
        (
            "version: 1\n"
            "presence:\n"
            "  l: {members: [w], watchers: [readr]}\n"
            "users:\n"
            "  reader: {}\n"
            "workers:\n"
            "  w: {handler: app:W}\n"
        ),
        "3:32: presence.l.watchers[0]: no agent or user called 'readr' is declared (did you mean 'reader'?)",
    ),
    Broken(
        "a team as a watcher",
        (
            "version: 1\n"
            "teams:\n"
            "  t: {members: [w]}\n"
            "presence:\n"
            "  l: {members: [w], watchers: [t]}\n"
            "workers:\n"
            "  w: {handler: app:W}\n"
        ),
        "5:32: presence.l.watchers[0]: 't' is declared under 'teams', and here stand only names under 'coordinators', 'workers', 'agents' and 'users'",
    ),
    Broken(
        "a user who asks nobody there",
        "version: 1\nusers:\n  u: {asks: [x]}\nworkers:\n  w: {handler: app:W}\n",
        "3:14: users.u.asks[0]: no agent called 'x' is declared; the file declares 'w'",
    ),
    Broken(
        "one name in two sections",
        "version: 1\nteams:\n  w: {members: [w]}\nworkers:\n  w: {handler: app:W}\n",
        "5:3: workers.w: the name 'w' is taken by teams.w, line 3; names are unique in a file",
    ),
    Broken(
        "the reserved user",
        "version: 1\nusers:\n  cli: {asks: [w]}\nworkers:\n  w: {handler: app:W}\n",
        "3:3: users.cli: the name 'cli' is reserved for `orchestrator run --ask`",
    ),
    Broken(
        "two rooms that are one attribute",
        (
            "version: 1\n"
            "teams:\n"
            "  a-b: {members: [w]}\n"
            "presence:\n"
            "  a_b: {members: [w]}\n"
            "workers:\n"
            "  w: {handler: app:W}\n"
        ),
        "5:3: presence.a_b: 'a_b' and 'a-b' are one attribute in code, 'a_b'; rename one of them",
    ),
    Broken(
        "three mistakes",
        (
            "version: 1\n"
            "coordinators:\n"
            "  lead: {handler: app:Lead, workers: [reviewer]}\n"
            "workers:\n"
            "  reviewr:\n"
            "    handler: app:Reviewer\n"
            "    replicas: thre\n"
            "    concurency: 2\n"
        ),
        "3:39: coordinators.lead.workers[0]: no worker called 'reviewer' is declared (did you mean 'reviewr'?)",
        "7:15: workers.reviewr.replicas: expected a whole number of at least 1, found 'thre'",
        "8:5: workers.reviewr.concurency: unknown key 'concurency' (did you mean 'concurrency'?)",
    ),
)
