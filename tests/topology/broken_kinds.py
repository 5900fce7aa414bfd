"""Files with agents that are run in no way, or in two; deliveries and claims that nothing could keep; broken profiles."""

from __future__ import annotations

from typing import Final

from tests.topology.files import Broken

W: Final = "version: 1\nworkers:\n  w: "

FILES: Final = (
    Broken(
        "a handler and a command",
        W + "{handler: app:W, command: [node, w.js], handles: [Add]}\n",
        "3:23: workers.w.command: 'handler' and 'command' stand here together, and an agent is one of them",
        "3:46: workers.w.handles: the tasks of a handler are read from its code; only a command or an external agent lists them here",
    ),
    Broken(
        "a command as one text",
        W + "{command: node w.js, handles: [Add]}\n",
        "3:16: workers.w.command: expected a list, found 'node w.js'; write [node w.js]",
    ),
    Broken(
        "a command of no words",
        W + "{command: [], handles: [Add]}\n",
        "3:16: workers.w.command: a command has at least one word, the program",
    ),
    Broken(
        "a command that holds a mapping",
        W + "{command: [node, {script: w.js}], handles: [Add]}\n",
        "3:23: workers.w.command[1]: expected one word of a command, found a mapping",
    ),
    Broken(
        "a worker that takes nothing",
        W + "{command: [node, w.js]}\n",
        "3:3: workers.w: a worker without a handler says what it takes: 'handles: [TaskName]'",
    ),
    Broken(
        "a worker that takes an empty list",
        W + "{external: true, handles: []}\n",
        "3:23: workers.w.handles: a worker without a handler says what it takes: 'handles: [TaskName]'",
    ),
    Broken(
        "a task that is no class",
        W + "{external: true, handles: [research-it]}\n",
        "3:33: workers.w.handles[0]: a task is named like its class: letters, digits and '_', beginning with a letter",
    ),
    Broken(
        "external as a word",
        W + "{external: maybe, handles: [Add]}\n",
        "3:17: workers.w.external: expected true or false, found 'maybe'",
    ),
    Broken(
        "not external and nothing else",
        W + "{external: false}\n",
        "3:3: workers.w: the key 'handler' is missing; without one, 'command' or 'external: true' stands here",
    ),
    Broken(
        "an environment for a program that runs elsewhere",
        W + "{external: true, handles: [Add], environment: {A: b}, restart: {delay: 1s}}\n",
        "3:39: workers.w.environment: 'environment' is for what is started here, and an external agent is not",
        "3:60: workers.w.restart: 'restart' is for what is started here, and an external agent is not",
    ),
    Broken(
        "a start and a watchdog for a handler that runs elsewhere",
        W + "{external: true, handler: app:W, start_method: spawn, watchdog: 1m}\n",
        "3:39: workers.w.start_method: 'start_method' is for what is started here, and an external agent is not",
        "3:60: workers.w.watchdog: 'watchdog' is for what is started here, and an external agent is not",
    ),
    Broken(
        "a start and a watchdog for a command",
        W + "{command: [node, w.js], handles: [Add], start_method: fork, watchdog: unlimited}\n",
        "3:46: workers.w.start_method: 'start_method' is for the process of a handler, and a command is a program of its own",
        "3:66: workers.w.watchdog: 'watchdog' is for the process of a handler, and a command is a program of its own",
    ),
    Broken(
        "a misspelt command",
        W + "{comand: [node], handles: [Add]}\n",
        "3:7: workers.w.comand: unknown key 'comand' (did you mean 'command'?)",
    ),
    Broken(
        "a delivery like no other",
        W + "{handler: app:W, tasks: {delivery: exactly-once}}\n",
        "3:41: workers.w.tasks.delivery: expected 'at-most-once' or 'at-least-once', found 'exactly-once'",
    ),
    Broken(
        "a backoff in words",
        W + "{handler: app:W, tasks: {backoff: {delay: soon}}}\n",
        "3:48: workers.w.tasks.backoff.delay: expected a duration such as 150ms, 30s, 2m or 1h, or a number of seconds, found 'soon'",
    ),
    Broken(
        "strong claims without a store",
        "version: 1\nagents:\n  a: {handler: app:A}\nteams:\n  t: {members: [a], claims: {consistency: strong}}\n",
        "5:43: teams.t.claims.consistency: strong claims are kept in a store, and this file declares none: 'store: sqlite:///claims.db'",
    ),
    Broken(
        "claims of another strength",
        "version: 1\nagents:\n  a: {handler: app:A}\nteams:\n  t: {members: [a], claims: {consistency: weak}}\n",
        "5:43: teams.t.claims.consistency: expected 'strong' or 'best-effort', found 'weak'",
    ),
    Broken(
        "a store without its address",
        "version: 1\nstore: sqlite\nagents:\n  a: {handler: app:A}\n",
        "2:8: store: expected one of 'memory:', sqlite://…, nats://…, redis://…, rediss://…, found 'sqlite'",
    ),
    Broken(
        "a backplane of another make",
        "version: 1\nhub: {backplane: kafka://b:9092}\nagents:\n  a: {handler: app:A}\n",
        "2:18: hub.backplane: expected one of 'memory', nats://…, redis://…, rediss://…, found 'kafka://b:9092'",
    ),
    Broken(
        "a backplane of another make with a password, which no message repeats",
        "version: 1\nhub: {backplane: 'kafka://me:hunter2@b:9092'}\nagents:\n  a: {handler: app:A}\n",
        "2:18: hub.backplane: this is none of 'memory', nats://…, redis://…, rediss://…",
    ),
    Broken(
        "a certificate without its key",
        "version: 1\nhub: {tls: {cert: c.pem}}\nagents:\n  a: {handler: app:A}\n",
        "2:7: hub.tls: the key 'key' is missing",
    ),
    Broken(
        "a certificate for a hub elsewhere",
        "version: 1\nhub: {url: 'wss://h.example', key: '${KEY}', tls: {cert: c.pem, key: k.pem}}\nagents:\n  a: {handler: app:A}\n",
        "2:46: hub.tls: only a local hub has a certificate; with a URL, leave this key out",
    ),
    Broken(
        "everybody is disabled",
        "version: 1\nagents:\n  a: {handler: app:A, enabled: false}\n",
        "1:1: every agent of this file is disabled",
    ),
    Broken(
        "a coordinator whose workers are disabled",
        "version: 1\ncoordinators:\n  b: {handler: app:B, workers: [w]}\nworkers:\n  w: {handler: app:W, enabled: false}\n",
        "3:23: coordinators.b.workers: everybody who is listed here is disabled: 'w'",
    ),
    Broken(
        "a switch that is neither on nor off",
        W + "{handler: app:W, enabled: 'no'}\n",
        "3:32: workers.w.enabled: expected true or false, found 'no'",
    ),
    Broken(
        "profiles as a list",
        W + "{handler: app:W}\nprofiles: [dev]\n",
        "4:11: profiles: expected a mapping of names to what each profile changes, found a list",
    ),
    Broken(
        "a profile of nothing",
        W + "{handler: app:W}\nprofiles: {dev: }\n",
        "4:17: profiles.dev: expected a mapping of what this profile changes, found nothing",
    ),
    Broken(
        "a profile that is not asked for, with a misspelt key and a dangling name",
        W + "{handler: app:W}\nprofiles:\n  dev:\n    workers: {w: {replica: 1}}\n    teams: {t: {members: [x]}}\n",
        "6:19: profiles.dev.workers.w.replica: unknown key 'replica' (did you mean 'replicas'?)",
        "7:27: profiles.dev.teams.t.members[0]: no agent called 'x' is declared; the file declares 'w'",
    ),
    Broken(
        "a mapping as a file to include",
        W + "{handler: app:W}\ninclude: {file: a.yaml}\n",
        "4:10: include: expected the path of a file, or a list of them, found a mapping",
    ),
    Broken(
        "an absolute file to include",
        W + "{handler: app:W}\ninclude: [/etc/passwd]\n",
        "4:11: include: '/etc/passwd' is an absolute path; a file is included relative to the one that includes it",
    ),
)
