"""The door of a service: who may come in, for how long, and what it says of what went through."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from lightbulb.serving.limits import LINGER_SECONDS, PATIENCE_SECONDS, Limits, Refused, refusal

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Log = Callable[[str, int, float], None]  # path, status, seconds

OPEN_PATHS = ("/health",)  # without the key


def names_of(host: str) -> frozenset[str] | None:
    """What a Host header may say to a service that is bound to `host`; None for anything, where others may reach it.
    A page of the web can make its own name mean 127.0.0.1 (DNS rebinding), so a local service listens to local names
    only."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return frozenset({"localhost", "127.0.0.1", "[::1]", host}) if local else None


class Guard:
    """Lets through what may pass within its time, and tells everything else what was wrong.

    Args:
        app: what answers
        limits: of requests
        names: that a Host header may say; None for any
        key: that must be shown; None for none
        log: hears of every request
    """

    def __init__(self, app: App, limits: Limits, names: frozenset[str] | None, key: str | None, log: Log):
        self._app, self._limits, self._names, self._log = app, limits, names, log
        self._key = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, status, unread = time.perf_counter(), 0, True

        async def received() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            async with asyncio.timeout(self._limits.seconds):
                self._check(scope)
                await self._app(scope, received, sent)
        except Exception as e:
            refused = _timed_out(self._limits.seconds) if isinstance(e, TimeoutError) else refusal(e)
            if refused.code == "internal_error":
                traceback.print_exception(e, file=sys.stderr)
            if status:  # what has begun can only be broken off
                raise ConnectionAbortedError(refused.message) from e
            await _say(refused, sent, received if unread else None)
        finally:
            self._log(scope["path"], status, time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = _name_in(headers.get(b"host", b"").decode("latin-1"))
        if self._names is not None and host not in self._names:
            raise Refused(403, "this service is bound to this machine, and answers to its local names only", "Host")
        if self._key is None or scope["path"] in OPEN_PATHS:
            return
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._key):
            how = {"WWW-Authenticate": "Bearer"}
            raise Refused(401, "the key is missing or wrong: Authorization: Bearer KEY", None, "invalid_api_key", how)


def _name_in(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _timed_out(seconds: float) -> Refused:
    return Refused(504, f"this took longer than {seconds:g} s", code="timeout")


async def _say(refused: Refused, send: Send, rest: Receive | None) -> None:
    """Says it. What is left of the request is taken and dropped for a while, where it is not None: a connection that is
    closed on unread bytes is reset, and the client loses the reply with it (RFC 9112, 9.6)."""
    body = json.dumps(refused.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    pairs = [(k.lower().encode(), v.encode()) for k, v in {**headers, **refused.headers}.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": rest is not None})
    if rest is None:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await rest()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})


async def body_of(scope: Scope, receive: Receive, most_bytes: int) -> bytes:
    """The body of a request of JSON.

    Raises:
        Refused: it is too long, comes too slowly, or is something else
    """
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":  # a page of another site can send only what is not
        raise Refused(415, "send JSON, with Content-Type: application/json", "Content-Type", "invalid_content_type")
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > most_bytes:
        raise _too_long(most_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "the body was broken off")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > most_bytes:
                    raise _too_long(most_bytes)
    except TimeoutError as e:
        raise Refused(408, f"the body did not come within {PATIENCE_SECONDS:g} s", code="timeout") from e
    return bytes(body)


def _too_long(most_bytes: int) -> Refused:
    return Refused(413, f"a request may have {most_bytes:,} bytes", code="request_too_large")
