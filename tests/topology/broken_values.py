"""Files whose values are of a kind, but not of the one that is due."""

from __future__ import annotations

from typing import Final

from tests.topology.files import Broken

FILES: Final = (
    Broken(
        "replicas in words",
        "version: 1\nworkers:\n  reviewr: {handler: app:W, replicas: thre}\n",
        "3:39: workers.reviewr.replicas: expected a whole number of at least 1, found 'thre'",
    ),
    Broken(
        "replicas in quotes",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: '3'}\n",
        "3:33: workers.w.replicas: expected a whole number of at least 1, found the quoted text '3'",
    ),
    Broken(
        "no replicas at all",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: 0}\n",
        "3:33: workers.w.replicas: expected a whole number of at least 1, found '0'",
    ),
    Broken(
        "fewer than no replicas",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: -1}\n",
        "3:33: workers.w.replicas: expected a whole number of at least 1, found '-1'",
    ),
    Broken(
        "half a replica",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: 1.5}\n",
        "3:33: workers.w.replicas: expected a whole number of at least 1, found '1.5'",
    ),
    Broken(
        "replicas with an underscore",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: 1_0}\n",
        "3:33: workers.w.replicas: expected a whole number of at least 1, found '1_0'",
    ),
    Broken(
        "replicas in octal",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: 010}\n",
        "3:33: workers.w.replicas: expected a whole number of at least 1, found '010'",
    ),
    Broken(
        "more replicas than anybody runs",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: 100000}\n",
        "3:33: workers.w.replicas: this is too many; at most 1000 are possible",
    ),
    Broken(
        "concurrency as a boolean",
        "version: 1\nworkers:\n  w: {handler: app:W, concurrency: true}\n",
        "3:36: workers.w.concurrency: expected a whole number of at least 1, found 'true'",
    ),
    Broken(
        "concurrency as a list",
        "version: 1\nworkers:\n  w: {handler: app:W, concurrency: [1]}\n",
        "3:36: workers.w.concurrency: expected a whole number of at least 1, found a list",
    ),
    Broken(
        "concurrency as nothing",
        "version: 1\nworkers:\n  w: {handler: app:W, concurrency: }\n",
        "3:36: workers.w.concurrency: expected a whole number of at least 1, found nothing",
    ),
    Broken(
        "a boolean that YAML 1.1 knew",
        "version: 1\nworkers:\n  w: {handler: app:W, inherit_environment: no}\n",
        "3:44: workers.w.inherit_environment: expected true or false, found 'no'",
    ),
    Broken(
        "a watchdog that is off",
        "version: 1\nworkers:\n  w: {handler: app:W, watchdog: off}\n",
        "3:33: workers.w.watchdog: expected a duration such as 20s or 1m, a number of seconds, or 'unlimited', found 'off'",
    ),
    Broken(
        "a watchdog that would bite at once",
        "version: 1\ndefaults: {watchdog: 500ms}\nworkers:\n  w: {handler: app:W, watchdog: 0}\n",
        "2:22: defaults.watchdog: a handler may block its event loop for 1s at least, or 'unlimited'",
        "4:33: workers.w.watchdog: a handler may block its event loop for 1s at least, or 'unlimited'",
    ),
    Broken(
        "a watchdog that sleeps for years",
        "version: 1\ndefaults: {watchdog: 10000h}\nworkers:\n  w: {handler: app:W}\n",
        "2:22: defaults.watchdog: this duration is longer than a year",
    ),
    Broken(
        "a start like no other",
        "version: 1\nworkers:\n  w: {handler: app:W, start_method: forkserver}\n",
        "3:37: workers.w.start_method: expected 'fork' or 'spawn', found 'forkserver'",
    ),
    Broken(
        "misspelt keys of the start",
        "version: 1\ndefaults: {watch_dog: 9s}\nworkers:\n  w: {handler: app:W, startmethod: fork}\n",
        "2:12: defaults.watch_dog: unknown key 'watch_dog' (did you mean 'watchdog'?)",
        "4:23: workers.w.startmethod: unknown key 'startmethod' (did you mean 'start_method'?)",
    ),
    Broken(
        "a name with capitals",
        "version: 1\nworkers:\n  Writer: {handler: app:W}\n",
        "3:3: workers.Writer: a name begins with a small letter and holds only small letters, digits, '-' and '_' (did you mean 'writer'?)",
    ),
    Broken(
        "a name with a dot",
        "version: 1\nworkers:\n  w.1: {handler: app:W}\n",
        "3:3: workers.w.1: a name begins with a small letter and holds only small letters, digits, '-' and '_' (did you mean 'w-1'?)",
    ),
    Broken(
        "a name that is a number",
        "version: 1\nworkers:\n  7: {handler: app:W}\n",
        "3:3: workers.7: a name begins with a small letter and holds only small letters, digits, '-' and '_'",
    ),
    Broken(
        "a name of 64 letters",
        (
            "version: 1\n"
            "workers:\n"
            "  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: {handler: app:W}\n"
        ),
        "3:3: workers.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: a name has at most 63 characters, and this one has 64",
    ),
    Broken(
        "a handler that is a path",
        "version: 1\nworkers:\n  w: {handler: ../app.py}\n",
        "3:16: workers.w.handler: a handler is written 'module:Class' or 'module', with dots between packages: no path, no '..', no spaces",
    ),
    Broken(
        "a handler that climbs out",
        "version: 1\nworkers:\n  w: {handler: '..app:W'}\n",
        "3:16: workers.w.handler: a handler is written 'module:Class' or 'module', with dots between packages: no path, no '..', no spaces",
    ),
    Broken(
        "a handler that is a command",
        "version: 1\nworkers:\n  w: {handler: 'app:W; rm -rf ~'}\n",
        "3:16: workers.w.handler: a handler is written 'module:Class' or 'module', with dots between packages: no path, no '..', no spaces",
    ),
    Broken(
        "a handler with two colons",
        "version: 1\nworkers:\n  w: {handler: 'app:W:x'}\n",
        "3:16: workers.w.handler: a handler is written 'module:Class' or 'module', with dots between packages: no path, no '..', no spaces",
    ),
    Broken(
        "a handler that is nothing",
        "version: 1\nworkers:\n  w:\n    handler:\n",
        "4:13: workers.w.handler: expected a handler, written 'module:Class' or 'module', found nothing",
    ),
    Broken(
        "a duration without a unit it knows",
        "version: 1\nworkers:\n  w: {handler: app:W, tasks: {timeout: 2 minutes}}\n",
        "3:40: workers.w.tasks.timeout: expected a duration such as 150ms, 30s, 2m or 1h, or a number of seconds, found '2 minutes'",
    ),
    Broken(
        "a duration in base 60",
        "version: 1\nworkers:\n  w: {handler: app:W, tasks: {timeout: 1:30}}\n",
        "3:40: workers.w.tasks.timeout: expected a duration such as 150ms, 30s, 2m or 1h, or a number of seconds, found '1:30'",
    ),
    Broken(
        "a negative duration",
        "version: 1\nworkers:\n  w: {handler: app:W, tasks: {timeout: -1s}}\n",
        "3:40: workers.w.tasks.timeout: expected a duration such as 150ms, 30s, 2m or 1h, or a number of seconds, found '-1s'",
    ),
    Broken(
        "a timeout of nothing",
        "version: 1\nworkers:\n  w: {handler: app:W, tasks: {timeout: 0s}}\n",
        "3:40: workers.w.tasks.timeout: this duration must be longer than nothing",
    ),
    Broken(
        "a duration of centuries",
        "version: 1\ndefaults:\n  restart: {window: 1000000h}\nworkers:\n  w: {handler: app:W}\n",
        "3:21: defaults.restart.window: this duration is longer than a year",
    ),
    Broken(
        "a token that lives too long",
        "version: 1\nhub: {token_ttl: 25h}\nworkers:\n  w: {handler: app:W}\n",
        "2:18: hub.token_ttl: a token lives between 1s and 24h",
    ),
    Broken(
        "a token that lives too short",
        "version: 1\nusers:\n  u: {token_ttl: 10ms}\nworkers:\n  w: {handler: app:W}\n",
        "3:18: users.u.token_ttl: a token lives between 1s and 24h",
    ),
    Broken(
        "an unknown restart condition",
        "version: 1\ndefaults:\n  restart: {condition: sometimes}\nworkers:\n  w: {handler: app:W}\n",
        "3:24: defaults.restart.condition: expected 'on-failure', 'always' or 'never', found 'sometimes'",
    ),
    Broken(
        "attempts in words",
        "version: 1\ndefaults:\n  restart: {max_attempts: unlimitd}\nworkers:\n  w: {handler: app:W}\n",
        "3:27: defaults.restart.max_attempts: expected a whole number, or 'unlimited', found 'unlimitd'",
    ),
    Broken(
        "a hand-written scope that is no list",
        "version: 1\nworkers:\n  w: {handler: app:W, scopes: {publish: audit}}\n",
        "3:41: workers.w.scopes.publish: expected a list, found 'audit'; write [audit]",
    ),
    Broken(
        "a hand-written scope of a wrong name",
        "version: 1\nworkers:\n  w: {handler: app:W, scopes: {publsh: [audit]}}\n",
        "3:32: workers.w.scopes.publsh: unknown key 'publsh' (did you mean 'publish'?)",
    ),
    Broken(
        "a peer id with a line break",
        'version: 1\nworkers:\n  w: {handler: app:W, scopes: {send: ["a\\nb"]}}\n',
        "3:39: workers.w.scopes.send[0]: a peer id has 1 to 128 printable ASCII characters",
    ),
    Broken(
        "a capability with a space",
        "version: 1\nworkers:\n  w: {handler: app:W, capabilities: [pdf files]}\n",
        "3:38: workers.w.capabilities[0]: a capability is a word of at most 64 letters, digits, '.', '_', '+' and '-'",
    ),
    Broken(
        "a variable of the runtime",
        "version: 1\nworkers:\n  w: {handler: app:W, environment: {ORCHESTRATOR_X: 1}}\n",
        "3:37: workers.w.environment.ORCHESTRATOR_X: variables that begin with 'ORCHESTRATOR_' are the runtime's own and reach no agent",
    ),
    Broken(
        "a variable with an impossible name",
        "version: 1\nworkers:\n  w: {handler: app:W, environment: {A-B: 1}}\n",
        "3:37: workers.w.environment.A-B: the name of an environment variable holds only letters, digits and '_', and begins with no digit",
    ),
    Broken(
        "a variable that is nothing",
        "version: 1\nworkers:\n  w: {handler: app:W, environment: {A: }}\n",
        "3:40: workers.w.environment.A: expected text, or '' for none, found nothing",
    ),
    Broken(
        "an environment that is a list",
        "version: 1\nworkers:\n  w: {handler: app:W, environment: [A=1]}\n",
        "3:36: workers.w.environment: expected a mapping, found a list",
    ),
)
