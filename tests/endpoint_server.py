"""A small OpenAI-compatible server for tests, on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def good(handler: BaseHTTPRequestHandler, body: dict, pause: float = 0.0) -> None:
    """Streams max_tokens words, then the usage."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    handler.wfile.write(b": a comment\n\n" + event(choices=[{"delta": {"role": "assistant"}}]))
    for _ in range(body["max_tokens"]):
        time.sleep(pause)
        handler.wfile.write(event(choices=[{"delta": {"content": "word "}}], usage=None))
        handler.wfile.flush()
    words = sum(len(m["content"].split()) for m in body["messages"])
    usage = {"prompt_tokens": words + 4, "completion_tokens": body["max_tokens"]}
    handler.wfile.write(event(choices=[], usage=usage) + b"data: [DONE]\n\n")


def serve(answer: Callable[[BaseHTTPRequestHandler, dict], None]) -> ThreadingHTTPServer:
    """Runs in a thread until `shutdown`; `asked` holds (path, headers, body) of every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
            answer(self, body)

        def log_message(self, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
