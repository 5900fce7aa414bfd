"""Messages that have broken programs before: the same ones each time, each with a name that says what it is.

Most are a `data` within an envelope that is fine, so that it reaches those who listen if the hub lets it through;
the rest are envelopes that are not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM: Final = "poison/room"
ELSEWHERE: Final = "poison/elsewhere"


@dataclass(frozen=True, slots=True)
class Poison:
    name: str
    text: bytes
    """The bytes of a `data`, or of a whole frame; often not JSON, and not always UTF-8."""


def payloads() -> list[Poison]:
    """Return the values for `data`."""
    return [
        Poison(f"{family}: {name}", text)
        for family, make in (
            ("number", _numbers),
            ("no number", _not_numbers),
            ("string", _strings),
            ("no string", _not_strings),
            ("object", _objects),
            ("WebRTC signal", _signals),
            ("nesting", _nesting),
            ("syntax", _syntax),
        )
        for name, text in make()
    ]


def envelopes() -> list[Poison]:
    """Return whole frames."""
    return [
        Poison(f"{family}: {name}", text)
        for family, make in (
            ("field", _wrong_fields),
            ("type", _types),
            ("frame", _frames),
            ("name", _channel_names),
        )
        for name, text in make()
    ]


def publish(data: bytes, channel: str = ROOM) -> bytes:
    return b'{"type":"publish","channel":%b,"data":%b,"requestId":"r"}' % (_json(channel), data)


def send(data: bytes, to: str) -> bytes:
    return b'{"type":"send","to":%b,"data":%b,"requestId":"r"}' % (_json(to), data)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


_Named = tuple[str, bytes]


def _named(text: str) -> _Named:
    return text[:40], text.encode()


def _numbers() -> Iterator[_Named]:
    for text in (
        "-0",
        "-0.0",
        "1E+2",
        "0.1e1",
        "1e400",
        "-1e400",
        "1e-400",
        "5e-324",
        "1.7976931348623159e308",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "0e999999999",
    ):
        yield _named(text)
    for power in (31, 32, 53, 63, 64, 128, 1024):
        for offset in (-1, 0, 1):
            yield f"2^{power}{offset:+}", str(2**power + offset).encode()
            yield f"-(2^{power}{offset:+})", str(-(2**power) - offset).encode()
    for digits in (309, 4_300, 4_301, 10_000, 60_000):
        yield f"{digits} digits", b"7" * digits
        yield f"{digits} digits after the point", b"0." + b"3" * digits
    yield "an exponent of 400 digits", b"1e" + b"9" * 400
    yield "a list of numbers", b"[" + b",".join([b"1e308"] * 5_000) + b"]"


def _not_numbers() -> Iterator[_Named]:
    for text in (
        "NaN",
        "-NaN",
        "Infinity",
        "-Infinity",
        "inf",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "-",
        "-.5",
        "1e",
        "1e+",
        "--1",
        "0x10",
        "0b1",
        "1_000",
        "1,000",
        "1 2",
        "1n",
        "1f",
        "\u0661\u0662",
        "\u221e",
        "[NaN]",
        '{"a":Infinity}',
        "[1e400,NaN]",
    ):
        yield _named(text)


def _strings() -> Iterator[_Named]:
    for code in (*range(0x20), 0x7F, 0x85, 0xA0, 0xD7FF, 0xE000, 0xFDD0, 0xFFFE, 0xFFFF):
        yield f"\\u{code:04x} escaped", b'"\\u%04x"' % code
    for name, text in (
        ("a lone high surrogate", r"\ud800"),
        ("a lone low surrogate", r"\udfff"),
        ("surrogates in the wrong order", r"\udc00\ud800"),
        ("two high surrogates", r"\ud83d\ud83d"),
        ("a high surrogate before a letter", r"\ud800x"),
        ("a high surrogate before an escape", r"\ud800\n"),
        ("a surrogate pair", r"\ud83d\ude00"),
        ("escaped escapes", r"\\u0000\\\"\/"),
        ("a frame", r"{\"type\":\"welcome\",\"peerId\":\"x\"}"),
        ("markup", "</script><!--<![CDATA["),
        ("formats", "%s%n%x{0}{{7*7}}${jndi:ldap://x}"),
        ("a header", r"\r\nSet-Cookie: x"),
        ("a terminal's commands", r"\u001b[2J\u001b]0;x\u0007"),
        ("a byte order mark", "\ufeff"),
        ("right to left", "\u202e\u2067abc\u2069\u202c"),
        ("zero width", "\u200b\u200c\u200d\u2060\ufeff"),
        ("line separators", "\u2028\u2029\u0085"),
        ("tags", "".join(chr(0xE0000 + ord(letter)) for letter in "hello")),
        ("the last code point", "\U0010ffff"),
        ("a heap of accents", "e" + "\u0301" * 2_000),
        ("a joined family", "\U0001f468\u200d" * 500),
        ("a wide ligature", "\ufdfd" * 1_000),
        ("private use", "\uf8ff\U000f0000"),
    ):
        yield name, f'"{text}"'.encode()
    for size in (1_000, 32_767, 65_000, 65_534):
        yield f"{size} letters", b'"' + b"a" * size + b'"'
    yield "10,000 escapes", b'"' + b"\\u0041" * 10_000 + b'"'
    yield "30,000 backslashes", b'"' + b"\\\\" * 30_000 + b'"'
    yield "21,000 wide letters", b'"' + "\u20ac".encode() * 21_000 + b'"'


def _not_strings() -> Iterator[_Named]:
    for code in (0x00, 0x01, 0x08, 0x09, 0x0A, 0x0D, 0x1B, 0x1F):
        yield f"a raw control character {code:#04x}", b'"a' + bytes([code]) + b'b"'
    for name, text in (
        ("a raw surrogate", b"\xed\xa0\x80"),
        ("a raw surrogate pair", b"\xed\xa0\xbd\xed\xb8\x80"),
        ("an overlong NUL", b"\xc0\x80"),
        ("an overlong slash", b"\xe0\x80\xaf"),
        ("a lone continuation", b"\x80"),
        ("a truncated letter", b"\xe2\x82"),
        ("beyond Unicode", b"\xf4\x90\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("0xFF", b"\xff"),
        ("Latin-1", "größe".encode("latin-1")),
        ("UTF-16", "x".encode("utf-16")),
        ("a bad escape", rb"\x41"),
        ("a long escape", rb"\U00000041"),
        ("a short escape", rb"\u12"),
        ("an escape that is no hexadecimal", rb"\u00zz"),
        ("an escaped quote of the other kind", rb"\'"),
        ("an octal escape", rb"\101"),
    ):
        yield name, b'"' + text + b'"'
    yield "a lone backslash", b'"\\"'
    yield "no end", b'"abc'
    yield "single quotes", b"'abc'"
    yield "typographic quotes", "\u201cabc\u201d".encode()


_NAMES: Final = (
    "__proto__",
    "constructor",
    "prototype",
    "hasOwnProperty",
    "toString",
    "valueOf",
    "toJSON",
    "then",
    "length",
    "__defineGetter__",
    "__class__",
    "__init__",
    "__dict__",
    "__reduce__",
    "$ref",
    "type",
    "from",
    "to",
    "channel",
    "data",
    "peerId",
    "requestId",
)


def _objects() -> Iterator[_Named]:
    for name in _NAMES:
        for value in ({"polluted": True}, None, "x", [1]):
            yield f"{name} = {value}", _json({name: value})
    yield "the path to a prototype", b'{"constructor":{"prototype":{"polluted":true}}}'
    yield "empty", b"{}"
    yield "an empty key", b'{"":{"":""}}'
    yield "a key of 10,000 letters", _json({"k" * 10_000: 1})
    yield "a key with a NUL", b'{"a\\u0000b":1}'
    yield "a key that is a lone surrogate", b'{"\\ud800":1}'
    yield "a key twice", b'{"a":1,"a":2}'
    yield "a key twice, once escaped", b'{"a":1,"\\u0061":2}'
    yield "a key 2,000 times", b"{" + b",".join([b'"a":1'] * 2_000) + b"}"
    yield "4,000 keys", _json({str(number): number for number in range(4_000)})
    yield "both forms of one letter", _json({"\u00e9": 1, "e\u0301": 2})
    yield "numbers for keys", b'{"0":0,"-1":1,"1e400":2,"4294967295":3}'
    yield "30,000 empty lists", b"[" + b",".join([b"[]"] * 20_000) + b"]"


def _signals() -> Iterator[_Named]:
    values: tuple[object, ...] = (
        None,
        True,
        7,
        "x",
        [],
        {},
        {"type": "evil", "sdp": None},
        {"type": "offer"},
        {"type": "offer", "sdp": 1},
    )
    for value in values:
        yield f"a description {value}", _json({"type": "rtc-description", "description": value})
    yield (
        "a description of 60,000 bytes",
        _json({"type": "rtc-description", "description": {"type": "offer", "sdp": "a=x\r\n" * 8_000}}),
    )
    for value in (True, 7, "x", [], {}, {"candidate": None}, {"candidate": "x" * 5_000}, {"candidate": "candidate:"}):
        yield f"a candidate {str(value)[:40]}", _json({"type": "rtc-ice", "candidate": value})
    for value in (None, 7, [], {}, {"trackId": 1}, {"trackId": "t", "metadata": []}, {"trackId": "__proto__"}):
        yield f"track metadata {value}", _json({"__meteredTrackMeta": value})


def _nesting() -> Iterator[_Named]:
    for depth in (1, 32, 60, 61, 62, 63, 64, 65, 66, 100, 1_000, 10_000, 30_000):
        yield f"{depth} lists", b"[" * depth + b"]" * depth
    for depth in (1, 60, 62, 63, 64, 65, 100, 1_000, 9_000):
        yield f"{depth} objects", b'{"":' * depth + b"1" + b"}" * depth
    for depth in (31, 32, 33, 5_000):
        yield f"{depth} lists and objects in turn", b'[{"":' * depth + b"1" + b"}]" * depth
    for depth in (63, 1_000, 60_000):
        yield f"{depth} lists without an end", b"[" * depth
        yield f"{depth} ends without a list", b"]" * depth
    yield "10,000 objects without an end", b'{"":' * 10_000
    yield "brackets in a string", b'"' + b"[{" * 30_000 + b'"'
    yield "brackets after an escaped quote", b'"\\"' + b"[" * 1_000 + b'"'


def _syntax() -> Iterator[_Named]:
    for text in (
        "",
        " ",
        "\t\r\n null \t",
        "\x0c1",
        "\u00a01",
        "\ufeff1",
        "\x001",
        "null\x00",
        "undefined",
        "None",
        "True",
        "nul",
        "nullnull",
        "tru",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1",
        "1]",
        '{"a":1,}',
        '{"a" 1}',
        '{"a":}',
        '{"a"}',
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{,}",
        '{"a":1 "b":2}',
        "/* */1",
        "1//",
        "#1",
        "new Date()",
        "()",
        "[...[]]",
        ":",
        ",",
        '1},{"type":"ping"',
        '1}{"type":"ping"}',
    ):
        yield _named(text) if text.strip() else (repr(text), text.encode())


def _wrong_fields() -> Iterator[_Named]:
    fine: dict[str, dict[str, object]] = {
        "subscribe": {"channel": ELSEWHERE, "includeSenderMetadata": True},
        "unsubscribe": {"channel": ELSEWHERE},
        "publish": {"channel": ELSEWHERE, "data": 1},
        "send": {"to": "nobody", "data": 1},
        "ping": {},
    }
    wrong = (
        b"null",
        b"true",
        b"0",
        b"-1e400",
        b"[]",
        b"{}",
        b'""',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"' + b"x" * 300 + b'"',
        b"[" * 70 + b"]" * 70,
    )
    for kind, fields in fine.items():
        for field in ("requestId", *fields):
            if field == "data":
                continue
            for value in wrong:
                others = {name: _json(it) for name, it in {"type": kind, "requestId": "r", **fields}.items()}
                yield f"{kind}.{field} = {value[:20].decode()}", _object(others | {field: value})
        for field in fields:
            left = {name: _json(it) for name, it in {"type": kind, "requestId": "r", **fields}.items() if name != field}
            yield f"{kind} without {field}", _object(left)


def _object(fields: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(_json(name) + b":" + value for name, value in fields.items()) + b"}"


def _types() -> Iterator[_Named]:
    for kind in (
        "message",
        "direct",
        "presence",
        "welcome",
        "ack",
        "error",
        "pong",
        "going_away",
        "Publish",
        "publish ",
        "publi\u017fh",
        "__proto__",
        "constructor",
        "",
        "\u0000",
        "x" * 1_000,
        "\U0001f4a3",
    ):
        fields = {"type": kind, "channel": ROOM, "to": "ours", "from": "x", "data": 1, "requestId": "r"}
        yield repr(kind[:40]), _json(fields)
    for value in (b"null", b"7", b"[]", b"{}", b"true", b'["publish"]'):
        yield value.decode(), b'{"type":%b,"channel":"x","data":1}' % value
    yield "none", b'{"channel":"x","data":1}'


def _frames() -> Iterator[_Named]:
    ping = b'{"type":"ping"}'
    yield from (
        ("nothing", b""),
        ("a blank", b" "),
        ("null", b"null"),
        ("a list", b"[" + ping + b"]"),
        ("a text", b'"ping"'),
        ("a number", b"1"),
        ("a byte order mark first", b"\xef\xbb\xbf" + ping),
        ("a NUL first", b"\0" + ping),
        ("a NUL last", ping + b"\0"),
        ("two at once", ping + ping),
        ("two lines", ping + b"\n" + ping),
        ("an open brace", b"{"),
        ("a closing brace", b"}"),
        ("no UTF-8", b"\xff\xfe"),
        ("a truncated letter", b'{"type":"\xe2\x82'),
        ("100 NULs", b"\0" * 100),
        ("blanks around", b" \n" * 1_000 + ping + b"\t" * 1_000),
        ("an empty key", b'{"":"","type":"ping"}'),
        ("a prototype", b'{"__proto__":{"type":"publish"},"type":"ping"}'),
        ("type twice", b'{"type":"publish","type":"ping"}'),
        ("channel twice", b'{"type":"publish","channel":"_system/x","channel":%b,"data":1}' % _json(ELSEWHERE)),
        ("data twice", b'{"type":"publish","channel":%b,"data":NaN,"data":1}' % _json(ELSEWHERE)),
        ("another type within", b'{"type":"publish","channel":"x","data":1,"type":"send","to":"nobody","data":2}'),
        ("to twice", b'{"type":"send","to":"nobody","to":[],"data":1,"requestId":"r"}'),
        ("a forged sender", b'{"type":"publish","channel":%b,"from":"ours","data":1}' % _json(ELSEWHERE)),
        (
            "forged metadata",
            b'{"type":"publish","channel":%b,"fromMetadata":{"admin":true},"data":1}' % _json(ELSEWHERE),
        ),
        ("3,000 fields", _json({"type": "ping", **{f"field {number}": None for number in range(3_000)}})),
        ("a deep field that is unknown", b'{"type":"ping","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
        ("a large field that is unknown", b'{"type":"ping","x":"' + b"x" * 60_000 + b'"}'),
        ("a broken field that is unknown", b'{"type":"ping","x":NaN}'),
        ("the largest", b'{"type":"ping","x":"' + b"x" * (69_632 - 22) + b'"}'),
        ("one byte too many", b'{"type":"ping","x":"' + b"x" * (69_632 - 21) + b'"}'),
    )


def _channel_names() -> Iterator[_Named]:
    for name in (
        "__proto__",
        "constructor",
        "caf\u00e9",
        "cafe\u0301",
        "\u202egnp",
        "\u200b",
        "\ufeff",
        "\u2028",
        "\U0001f4a9",
        "\U000e0041",
        " ",
        "../..",
        "//",
        "%2f",
        "\\",
        "'; --",
        "<b>",
        "null",
        "x" * (256 - len("poison/")),
    ):
        yield repr(name[:40]), publish(b"1", f"poison/{name}")
    for name in ("\u00e9" * 129, "y" * 257, "a\u0000b", "a\nb", "a\u0085b", "*", "poison/*", "_METERED/x", "_system/"):
        yield repr(name[:40]), publish(b"1", name)
        yield f"subscribing to {name[:40]!r}", b'{"type":"subscribe","channel":%b,"requestId":"r"}' % _json(name)
    yield "a lone surrogate", b'{"type":"publish","channel":"poison/\\ud800","data":1,"requestId":"r"}'


IDENTITIES: Final = (
    *_NAMES[:14],
    "<script>",
    " ",
    "'; DROP TABLE peers; --",
    "%00",
    "../..",
    "null",
    "undefined",
    "NaN",
    "0",
    "-1",
    "{}",
    "[]",
    "\\",
    '"',
    "~" * 128,
)
"""Peer ids that a token may hold."""

METADATA: Final = {
    "__proto__": {"polluted": True},
    "constructor": {"prototype": {"polluted": True}},
    "toString": None,
    "peerId": ["not", "this"],
    "\u0000\u202e\ufeff": 1e308,
    "": [[[[[[[[{}]]]]]]]],
}
"""A public identity that a token may hold."""
