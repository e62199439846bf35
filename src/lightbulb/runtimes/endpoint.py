"""An OpenAI-compatible HTTP endpoint as a thing to measure: what a client can see of it."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from lightbulb.core.errors import ModelError, RunFailure

KEY = "LIGHTBULB_API_KEY"  # environment variable
LONGEST_LINE = 1_000_000  # bytes of one event
PATIENCE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Streamed:
    """One answer as it came in: tokens as the server counts them, seconds from sending until the first piece of text
    (until the end, where the answer has none) and until the end."""

    prompt_tokens: int
    output_tokens: int
    seconds_to_first_token: float
    seconds: float


class Endpoint:
    """Asks `model` at an address like http://localhost:8000/v1 by POST /chat/completions, streamed, greedily.

    A key in the environment variable LIGHTBULB_API_KEY is sent as bearer token. Redirects are not followed, so that it
    goes nowhere else. The protocol: https://platform.openai.com/docs/api-reference/chat.
    """

    name: ClassVar[str] = "endpoint"

    def __init__(self, url: str, model: str):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError("this is no address of an endpoint", where=url, hint="like http://localhost:8000/v1")
        path = parts.path.rstrip("/") or "/v1"
        if not path.endswith("/chat/completions"):
            path += "/chat/completions"
        self.url, self.model = parts._replace(path=path).geturl(), model
        self.is_here = _is_loopback(parts.hostname)
        handlers: list[Any] = [_NoRedirects()]
        if self.is_here:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def ask(self, messages: Sequence[dict[str, str]], max_tokens: int) -> Streamed:
        """One answer of at most `max_tokens` tokens. Raises ModelError where the endpoint cannot be used as asked, and
        RunFailure where it breaks off."""
        begin = time.perf_counter()
        first: float | None = None
        usage: dict[str, Any] | None = None
        for event in self._events(messages, max_tokens):
            if first is None and _has_text(event):
                first = time.perf_counter() - begin
            usage = event.get("usage") or usage
        end = time.perf_counter() - begin
        return Streamed(*self._counts(usage), end if first is None else first, end)

    def _counts(self, usage: dict[str, Any] | None) -> tuple[int, int]:
        try:
            prompt, output = int(usage["prompt_tokens"]), int(usage["completion_tokens"])  # type: ignore[index]
        except (TypeError, KeyError, ValueError):
            prompt = output = 0
        if prompt < 1 or output < 1:
            raise ModelError(
                "the endpoint does not say how many tokens it read and wrote (usage), so nothing can be said per token",
                where=self.url,
                hint="use a server that knows stream_options.include_usage: llama-server, vLLM, Ollama, SGLang",
            )
        return prompt, output

    def _events(self, messages: Sequence[dict[str, str]], max_tokens: int) -> Iterator[dict[str, Any]]:
        """The objects of the answer's server-sent events, as they come."""
        try:
            with self._opener.open(self._request(messages, max_tokens), timeout=PATIENCE_SECONDS) as reply:
                while line := reply.readline(LONGEST_LINE):
                    if not line.strip() or line.startswith((b":", b"event:")):
                        continue
                    if line.strip() == b"data: [DONE]":
                        return
                    yield self._event(line)
        except urllib.error.HTTPError as e:
            raise self._refused(f"answered {e.code} {e.reason}: {_start_of(e.read(2000))}") from e
        except (http.client.HTTPException, ConnectionError, TimeoutError) as e:
            raise RunFailure(f"the endpoint broke off: {type(e).__name__}: {e}", where=self.url) from e
        except urllib.error.URLError as e:
            raise ModelError(
                f"cannot reach the endpoint: {e.reason}", where=self.url, hint="start the server, or check the address"
            ) from e

    def _request(self, messages: Sequence[dict[str, str]], max_tokens: int) -> urllib.request.Request:
        body = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(self.url, data=json.dumps(body).encode(), headers=headers)

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line.removeprefix(b"data:")) if line.startswith(b"data:") else None
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise self._refused(f"does not stream answers as OpenAI's does; it sent {_start_of(line)}")
        if "error" in event:
            raise self._refused(f"answered with an error: {_start_of(json.dumps(event['error']).encode())}")
        return event

    def _refused(self, what: str) -> ModelError:
        return ModelError(
            f"the endpoint {what}",
            where=self.url,
            hint=f"check the address (it often ends in /v1), `model_name`, and the key in {KEY} if it wants one",
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """None: a redirect is an error."""


def is_url(model: str) -> bool:
    return model.startswith(("http://", "https://"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _has_text(event: dict[str, Any]) -> bool:
    """Whether this event brings a piece of the answer (or of the thinking before it)."""
    choices = event.get("choices")
    delta = choices[0].get("delta") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    return isinstance(delta, dict) and any(delta.get(k) for k in ("content", "reasoning_content", "reasoning"))


def _start_of(text: bytes) -> str:
    return repr(text[:200].decode("utf-8", errors="replace").strip())
