"""Files with wrong variables, addresses, keys and channels."""

from __future__ import annotations

from typing import Final

from tests.topology.files import Broken

FILES: Final = (
    Broken(
        "a variable that is not set",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: '${COPIES}'}\n",
        "3:33: workers.w.replicas: the environment variable COPIES is not set, and has no default; write '${COPIES:-…}' to give one",
    ),
    Broken(
        "a misspelt variable",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: '${REPLICA}'}\n",
        "3:33: workers.w.replicas: the environment variable REPLICA is not set, and has no default (did you mean 'REPLICAS'?); write '${REPLICA:-…}' to give one",
    ),
    Broken(
        "a variable with a message",
        "version: 1\nhub:\n  url: ${HUB_URL:?say where the hub is}\nworkers:\n  w: {handler: app:W}\n",
        "3:8: hub.url: the environment variable HUB_URL is not set: say where the hub is",
    ),
    Broken(
        "a variable of a wrong kind",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: '${SECRET}'}\n",
        "3:33: workers.w.replicas: expected a whole number of at least 1, found what '${SECRET}' stands for",
    ),
    Broken(
        "a default of a wrong kind",
        "version: 1\nworkers:\n  w: {handler: app:W, replicas: '${COPIES:-many}'}\n",
        "3:33: workers.w.replicas: expected a whole number of at least 1, found what '${COPIES:-many}' stands for",
    ),
    Broken(
        "an open reference",
        "version: 1\nname: ${HOME\nworkers:\n  w: {handler: app:W}\n",
        "2:7: name: a '${' here has no closing brace; write '$${' for the text itself",
    ),
    Broken(
        "an odd reference",
        "version: 1\nname: ${HOME-x}\nworkers:\n  w: {handler: app:W}\n",
        "2:7: name: '${HOME-x}' is none of '${VAR}', '${VAR:-default}' and '${VAR:?message}'",
    ),
    Broken(
        "a reference within another",
        "version: 1\nname: ${A:-${B}}\nworkers:\n  w: {handler: app:W}\n",
        "2:7: name: a reference to a variable cannot hold another one",
    ),
    Broken(
        "a URL that is none",
        "version: 1\nhub: {url: example.com, key: '${KEY}'}\nworkers:\n  w: {handler: app:W}\n",
        "2:12: hub.url: expected 'local', or a URL that begins with ws:// or wss://, found 'example.com'",
    ),
    Broken(
        "a URL of another kind",
        "version: 1\nhub: {url: 'http://example.com', key: '${KEY}'}\nworkers:\n  w: {handler: app:W}\n",
        "2:12: hub.url: expected 'local', or a URL that begins with ws:// or wss://, found 'http://example.com'",
    ),
    Broken(
        "a URL with a password",
        "version: 1\nhub: {url: 'ws://me:pass@example.com', key: '${KEY}'}\nworkers:\n  w: {handler: app:W}\n",
        "2:12: hub.url: the URL of a hub holds no user, no '?' and no '#'; the credential goes under 'key'",
    ),
    Broken(
        "a URL without a key",
        "version: 1\nhub: {url: 'ws://example.com'}\nworkers:\n  w: {handler: app:W}\n",
        "2:12: hub.url: a hub at a URL needs a key to sign tokens with: key: '${HUB_KEY}'",
    ),
    Broken(
        "a URL and a backplane",
        "version: 1\nhub:\n  url: wss://example.com\n  key: ${KEY}\n  backplane: nats://broker\nworkers:\n  w: {handler: app:W}\n",
        "5:3: hub.backplane: only a local hub is started from this file, and so joined to others; with a URL, leave this key out and give it to that hub: `orchestrator hub serve --backplane …`",
    ),
    Broken(
        "a URL and a listening address",
        (
            "version: 1\n"
            "hub:\n"
            "  url: ws://example.com\n"
            "  key: ${KEY}\n"
            "  listen: 127.0.0.1:1\n"
            "workers:\n"
            "  w: {handler: app:W}\n"
        ),
        "5:3: hub.listen: only a local hub listens; with a URL, leave this key out",
    ),
    Broken(
        "a key in clear text",
        "version: 1\nhub:\n  key: sk_id_a:sk_secret_b\nworkers:\n  w: {handler: app:W}\n",
        "3:8: hub.key: a secret stands here in clear text; take it from a variable, such as ${HUB_KEY} [ORC108]",
    ),
    Broken(
        "a key in clear text, as a default",
        "version: 1\nhub:\n  key: ${KEY:-sk_id_a:sk_secret_b}\nworkers:\n  w: {handler: app:W}\n",
        "3:8: hub.key: a secret stands here in clear text; take it from a variable, such as ${HUB_KEY} [ORC108]",
    ),
    Broken(
        "a key in clear text among the author's own keys",
        "version: 1\nx-keys: [sk_id_a:sk_secret_b]\nworkers:\n  w: {handler: app:W}\n",
        "2:10: x-keys[0]: a secret stands here in clear text; take it from a variable, such as ${HUB_KEY} [ORC108]",
    ),
    Broken(
        "a key that is none",
        "version: 1\nhub:\n  key: ${SECRET}\nworkers:\n  w: {handler: app:W}\n",
        "3:8: hub.key: a key is a pair sk_id_…:sk_secret_…, and this is none",
    ),
    Broken(
        "a key that is too short",
        "version: 1\nhub:\n  key: ${SHORT_KEY}\nworkers:\n  w: {handler: app:W}\n",
        "3:8: hub.key: the secret of this key is shorter than 32 bytes",
    ),
    Broken(
        "an address without a port",
        "version: 1\nhub: {listen: 127.0.0.1}\nworkers:\n  w: {handler: app:W}\n",
        "2:15: hub.listen: expected an address such as 127.0.0.1:7700; port 0 is any free one, found '127.0.0.1'",
    ),
    Broken(
        "an address beyond loopback",
        "version: 1\nhub: {listen: '0.0.0.0:7700'}\nworkers:\n  w: {handler: app:W}\n",
        "2:15: hub.listen: beyond this machine a hub needs TLS: add 'tls: {cert: cert.pem, key: key.pem}', or listen on 127.0.0.1",
    ),
    Broken(
        "a port that is none",
        "version: 1\nhub: {listen: '127.0.0.1:77000'}\nworkers:\n  w: {handler: app:W}\n",
        "2:15: hub.listen: expected an address such as 127.0.0.1:7700; port 0 is any free one, found '127.0.0.1:77000'",
    ),
    Broken(
        "a channel with a star",
        "version: 1\nteams:\n  t: {members: [w], channel: team/*}\nworkers:\n  w: {handler: app:W}\n",
        "3:30: teams.t.channel: this names one channel, so it holds no '*' and no backslash",
    ),
    Broken(
        "a channel of the workers",
        "version: 1\nteams:\n  t: {members: [w], channel: tasks/w}\nworkers:\n  w: {handler: app:W}\n",
        "3:30: teams.t.channel: channels under 'tasks/' and 'pools/' belong to the workers; choose another name",
    ),
    Broken(
        "a channel of the hub",
        "version: 1\nteams:\n  t: {members: [w], channel: _internal/x}\nworkers:\n  w: {handler: app:W}\n",
        "3:30: teams.t.channel: channels under '_metered/', '_internal/' and '_system/' are reserved for the hub",
    ),
    Broken(
        "an empty channel",
        "version: 1\nteams:\n  t: {members: [w], channel: ''}\nworkers:\n  w: {handler: app:W}\n",
        "3:30: teams.t.channel: a channel has 1 to 256 bytes and no control characters",
    ),
    Broken(
        "a channel of two rooms",
        (
            "version: 1\n"
            "teams:\n"
            "  t: {members: [w], channel: lobbies/l}\n"
            "presence:\n"
            "  l: {members: [w]}\n"
            "workers:\n"
            "  w: {handler: app:W}\n"
        ),
        "5:3: presence.l.channel: its channel 'lobbies/l' is the one of teams.t too; each needs its own",
    ),
)
