"""Files with the wrong keys, or values of the wrong kind."""

from __future__ import annotations

from typing import Final

from tests.topology.files import Broken

FILES: Final = (
    Broken(
        "nothing at all",
        "",
        "1:1: the file is empty; the smallest topology begins 'version: 1'",
    ),
    Broken(
        "only a comment",
        "# topology\n",
        "1:1: the file is empty; the smallest topology begins 'version: 1'",
    ),
    Broken(
        "a list instead of a mapping",
        "- version: 1\n",
        "1:1: a topology is a mapping that begins 'version: 1', and this file holds a list",
    ),
    Broken(
        "a single word",
        "topology\n",
        "1:1: a topology is a mapping that begins 'version: 1', and this file holds the text 'topology'",
    ),
    Broken(
        "no version",
        "workers:\n  w: {handler: app:W}\n",
        "1:1: the key 'version' is missing",
    ),
    Broken(
        "a version of the future",
        "version: 2\nworkers:\n  w: {handler: app:W}\n",
        "1:10: version: expected 1, the version of the topology language, found '2'",
    ),
    Broken(
        "a version with a fraction",
        "version: 1.0\nworkers:\n  w: {handler: app:W}\n",
        "1:10: version: expected 1, the version of the topology language, found '1.0'",
    ),
    Broken(
        "a quoted version",
        'version: "1"\nworkers:\n  w: {handler: app:W}\n',
        "1:10: version: expected 1, the version of the topology language, found the quoted text '1'",
    ),
    Broken(
        "no agent",
        "version: 1\nname: empty\n",
        "1:1: the file declares no agent: nothing stands under coordinators, workers or agents",
    ),
    Broken(
        "two documents",
        "version: 1\nworkers:\n  w: {handler: app:W}\n---\nversion: 1\n",
        "4:1: a second document begins here, and a file holds one topology",
    ),
    Broken(
        "a misspelt section",
        "version: 1\nworker:\n  w: {handler: app:W}\n",
        "2:1: worker: unknown key 'worker' (did you mean 'workers'?)",
    ),
    Broken(
        "a misspelt section that others refer to",
        "version: 1\ncoordinators:\n  c: {handler: app:C, workers: [w]}\nworkrs:\n  w: {handler: app:W}\n",
        "4:1: workrs: unknown key 'workrs' (did you mean 'workers'?)",
    ),
    Broken(
        "a key like no other",
        "version: 1\nzebra: 3\nworkers:\n  w: {handler: app:W}\n",
        "2:1: zebra: unknown key 'zebra'; the keys here are 'version', 'name', 'hub', 'store', 'defaults', 'coordinators', 'workers', 'agents', 'teams', 'presence', 'users', 'include' and 'profiles'",
    ),
    Broken(
        "an empty section",
        "version: 1\nteams:\nworkers:\n  w: {handler: app:W}\n",
        "2:7: teams: expected a mapping, found nothing",
    ),
    Broken(
        "a section that is a list",
        "version: 1\nworkers:\n  - w\n",
        "2:1: workers: expected a mapping, found a list",
    ),
    Broken(
        "an agent that is nothing",
        "version: 1\nworkers:\n  w:\n",
        "3:5: workers.w: expected a mapping, found nothing",
    ),
    Broken(
        "an agent that is a text",
        "version: 1\nworkers:\n  w: app:W\n",
        "3:6: workers.w: expected a mapping, found 'app:W'",
    ),
    Broken(
        "no handler",
        "version: 1\nworkers:\n  w: {replicas: 2}\n",
        "3:3: workers.w: the key 'handler' is missing; without one, 'command' or 'external: true' stands here",
    ),
    Broken(
        "a misspelt required key",
        "version: 1\nworkers:\n  w: {handlr: app:W}\n",
        "3:7: workers.w.handlr: unknown key 'handlr' (did you mean 'handler'?)",
    ),
    Broken(
        "a misspelt optional key",
        "version: 1\nworkers:\n  w:\n    handler: app:W\n    replica: 2\n",
        "5:5: workers.w.replica: unknown key 'replica' (did you mean 'replicas'?)",
    ),
    Broken(
        "a key of another section",
        "version: 1\nworkers:\n  w:\n    handler: app:W\n    workers: [x]\n",
        "5:5: workers.w.workers: unknown key 'workers'; the keys here are 'handler', 'command', 'external', 'handles', 'enabled', 'name', 'replicas', 'concurrency', 'capabilities', 'restart', 'reconnect', 'start_method', 'watchdog', 'environment', 'inherit_environment', 'tasks' and 'scopes'",
    ),
    Broken(
        "a profile without its plural",
        "version: 1\nworkers:\n  w: {handler: app:W}\nprofile: {dev: {}}\n",
        "4:1: profile: unknown key 'profile' (did you mean 'profiles'?)",
    ),
)
