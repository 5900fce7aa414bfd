"""Sixty texts that pages have tripped over, by what is wrong with them.

Those that would run something call `canary`, a function that the tests put on the page.
"""

from __future__ import annotations

import json
from typing import Final

_ZALGO: Final = "".join(chr(code) for code in range(0x300, 0x36F))

HOSTILE: Final[dict[str, str]] = {
    # -- what runs where text is taken for markup
    "script": "<script>canary()</script>",
    "script, closed twice": "</script><script>canary()</script>",
    "script in a title": "</title><script>canary()</script>",
    "script in a textarea": "</textarea><script>canary()</script>",
    "image": "<img src=x onerror=canary()>",
    "image, quoted": '"><img src=x onerror="canary()">',
    "image, in quotes of the other kind": "'><img src=x onerror='canary()'>",
    "image elsewhere": '<img src="http://198.51.100.7/pixel.gif">',
    "SVG": "<svg onload=canary()>",
    "SVG with a script": '<svg xmlns="http://www.w3.org/2000/svg"><script>canary()</script></svg>',
    "SVG that moves": "<svg><animate onbegin=canary() attributeName=x dur=1s></svg>",
    "MathML": '<math><maction actiontype="statusline" xlink:href="javascript:canary()">x</maction></math>',
    "MathML, mutated": "<math><mtext><table><mglyph><style><img src=x onerror=canary()>",
    "frame": '<iframe srcdoc="<script>parent.canary()</script>"></iframe>',
    "object": '<object data="javascript:canary()"></object>',
    "embed": '<embed src="javascript:canary()">',
    "body": "<body onload=canary()>",
    "details": "<details open ontoggle=canary()>",
    "focus": '<input autofocus onfocus="canary()">',
    "handler in an attribute": '" onmouseover="canary()" autofocus onfocus="canary()" x="',
    "base": '<base href="http://198.51.100.7/">',
    "meta": '<meta http-equiv="refresh" content="0;url=javascript:canary()">',
    "link": '<link rel="stylesheet" href="http://198.51.100.7/x.css">',
    "form": '<form action="javascript:canary()"><button autofocus>x</button></form>',
    "template": "<template><script>canary()</script></template>",
    "comment": "--><script>canary()</script><!--",
    "CDATA": "]]><script>canary()</script><![CDATA[",
    "processing instruction": '<?xml-stylesheet href="javascript:canary()"?>',
    "entities": "&lt;script&gt;canary()&lt;/script&gt;&#x3C;img src=x onerror=canary()&#x3E;&nbsp;&amp;",
    "a null in a tag": "<scr\0ipt>canary()</scr\0ipt>",
    "half a tag": "<img src=x onerror=canary() ",
    # -- addresses
    "javascript address": "javascript:canary()",
    "javascript address, with a line feed": "java\nscript:canary()",
    "data address": "data:text/html,<script>canary()</script>",
    # -- style
    "style": "<style>*{display:none!important}</style>",
    "style of an attribute": '" style="position:fixed;inset:0;background:red" x="',
    "style that loads": "background:url(http://198.51.100.7/x.png);}@import 'http://198.51.100.7/x.css';",
    "a class of ours": "detail hidden panel main stop",
    # -- languages of templates, queries and terminals
    "templates": "{{constructor.constructor('canary()')()}} ${canary()} #{canary()} <%= canary() %> {% canary() %}",
    "SQL": "Robert'); DROP TABLE tasks;-- ' OR 1=1",
    "terminal": "\x1b[2J\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b]8;;http://198.51.100.7\x07link\x1b]8;;\x07",
    "JSON": '","admin":true,"x":"\\u0022}]}\\',
    "line ends of JavaScript": "a\u2028b\u2029canary()",
    # -- names that objects have
    "__proto__": "__proto__",
    "constructor": "constructor",
    "toString": "toString",
    "null": "null",
    "0": "0",
    # -- characters
    "right to left": "\u202egpj.exe\u202c \u2066\u2067\u2068 \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "zalgo": "".join(f"{letter}{_ZALGO}" for letter in "zalgo"),
    "ten thousand marks": "a" + "\u0301" * 10_000,
    "no width": "\u200b\u200c\u200d\u2060\ufeff" * 40,
    "half a character": "\\ud83d \\udc00 \ufffd \uffff \ufdd0",
    "control characters": "".join(chr(code) for code in (*range(32), *range(127, 160))),
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f4\U000e0067\U000e0062\U000e007f "
    * 30,
    "look-alikes": "r\u0435viewer \u0391dmin \uff41\uff47\uff45\uff4e\uff54",
    "white space only": " \t\u00a0\u3000\u2003 ",
    # -- sizes
    "sixty kilobytes without a space": "x" * 60_000,
    "a flood of lines": "\n" * 5_000,
    "wide characters": "\ufdfd\U0001242b" * 300,
}
"""By name. Each is text that JSON in UTF-8 can hold."""


def within(text: str, size: int) -> str:
    """Return as much of a text as JSON of `size` bytes holds, where a token or a frame has no room for all of it."""
    while len(json.dumps(text)) > size:
        text = text[: len(text) * 3 // 4]
    return text


def printable(text: str) -> str:
    """Return what a token may carry of it as a peer id."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:100]
