"""A page with nothing but the graph and a line of figures on it, served from loopback under the policy of the real one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orchestrator.hub

if TYPE_CHECKING:
    from collections.abc import Iterator

STATICS: Final = Path(orchestrator.hub.__file__).parent / "page"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_DOCUMENT: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Graph</title><link rel="stylesheet" href="/stage.css">
<script type="module" src="/stage.js"></script></head>
<body><div id="graph"></div><div id="figures"></div></body></html>
"""
_STYLE: Final = """
:root { --ink: #1d2430; --ink-dim: #667085; --ground: #f6f7f9; --panel: #fff; --line: #d8dde5; --accent: #3b6fe0;
  --good: #1f9d61; --warn: #c98a10; --bad: #d4403a; --idle: #9aa3b2; --team: #8a55d7; --lobby: #1690a7; --user: #c2557f;
  --font: system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --ink-dim: #8d97a8; --ground: #11151c; --panel: #1a202a;
  --line: #303947; --accent: #6b9bff; --good: #3ecf8e; --warn: #e8b03f; --bad: #ff6b64; --idle: #6b7585; --team: #b48cf2;
  --lobby: #45c0d6; --user: #f08bb4; } }
html, body { margin: 0; height: 100%; background: var(--ground); color: var(--ink); font-family: var(--font); }
#graph { height: 100vh; }
#figures { position: absolute; right: 0; bottom: 0; width: 180px; }
"""
_SCRIPT: Final = """
import { Graph } from "/page/graph.js";
import { Sparkline } from "/page/sparkline.js";
import { arrange, measure } from "/page/graph_layout.js";
import { modelOf, oneLine, placeReplicas } from "/page/graph_model.js";
window.picked = [];
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
window.graph = new Graph(document.getElementById("graph"), { onSelect: (...what) => window.picked.push(what) });
Object.assign(window, { Graph, Sparkline, arrange, measure, modelOf, oneLine, placeReplicas });
"""
_OWN: Final = {
    "/": ("text/html", _DOCUMENT),
    "/stage.css": ("text/css", _STYLE),
    "/stage.js": ("text/javascript", _SCRIPT),
    "/favicon.ico": ("image/png", ""),
}


class _Handler(BaseHTTPRequestHandler):
    @cached_property
    def _files(self) -> dict[str, Path]:
        return {f"/page/{path.name}": path for path in STATICS.glob("*.js")}

    def do_GET(self) -> None:
        if self.path in _OWN:
            kind, body = _OWN[self.path]
        elif self.path in self._files:
            kind, body = "text/javascript", self._files[self.path].read_text(encoding="utf-8")
        else:
            self.send_error(404)
            return
        content = body.encode()
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, *args: object) -> None:
        """Nobody reads who has asked for what."""


@contextmanager
def stage() -> Iterator[str]:
    """Yield the page's address while it is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
