"""A model behind an OpenAI-compatible HTTP endpoint, as its client meets it."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Self
from urllib.parse import urldefrag, urlsplit

from lightbulb.core.errors import ModelError, RunFailure
from lightbulb.runtimes.base import Capabilities, ModelForm, ModelInfo, Runtime
from lightbulb.runtimes.exchange import PLAIN, Answers, Options, Tokens

Messages = Sequence[dict[str, str]]

KEY = "LIGHTBULB_API_KEY"  # environment variable
LONGEST_LINE = 1_000_000  # bytes of one event
PATIENCE_SECONDS = 600
UNKNOWN_FIELD = (400, 422, 501)  # how servers refuse a field of the request that they do not know
NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Streamed:
    """One answer as it came in.

    Attributes:
        text: of the answer
        prompt_tokens: as the server counts them
        output_tokens: likewise
        seconds_to_first_token: from sending until the first piece of text (until the end, where the answer has none)
        seconds: from sending until the end
    """

    text: str
    prompt_tokens: int
    output_tokens: int
    seconds_to_first_token: float
    seconds: float

    def with_text(self, text: str) -> Streamed:
        return replace(self, text=text)


class Refused(ModelError):
    """The server answered with an HTTP status that is an error."""

    status: int = 0


class Endpoint(Runtime):
    """Asks `model` at an address like http://localhost:8000/v1 by POST /chat/completions, streamed, greedily.

    A key in the environment variable LIGHTBULB_API_KEY is sent as bearer token. Redirects are not followed, so that it
    goes nowhere else. The protocol: https://platform.openai.com/docs/api-reference/chat.

    The server applies the chat template, so a prompt is the conversation itself, as JSON.

    Args:
        url: of the API, or of its chat completions
        model: which of the server's
        slots: requests at once

    Raises:
        ModelError: `url` is no address of an endpoint
    """

    name: ClassVar[str] = "endpoint"
    title: ClassVar[str] = "an endpoint"
    opens: ClassVar[ModelForm] = "url"
    capabilities: ClassVar[Capabilities] = Capabilities(
        schema=True, stop=True, stream=True, sampling=True, batch=True, counts_each=True, devices=()
    )

    def __init__(self, url: str, model: str, *, slots: int = 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError("this is no address of an endpoint", where=url, hint="like http://localhost:8000/v1")
        path = parts.path.rstrip("/") or "/v1"
        if not path.endswith("/chat/completions"):
            path += "/chat/completions"
        self.url, self.model, self.slots = parts._replace(path=path).geturl(), model, slots
        self.info = ModelInfo(model)
        self._holds_to_schema = True  # until a request shows that it does not
        self.is_here = _is_loopback(parts.hostname)
        handlers: list[Any] = [_NoRedirects()]
        if self.is_here:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    @classmethod
    def open(cls, model: str, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        """Takes an endpoint; nothing is sent.

        Args:
            model: the address, "#" and which of its models: http://localhost:8000/v1#qwen3
            threads: not used: the server's own
            slots: requests at once
            context: not used: the server's own

        Raises:
            ModelError: no model is named, or `model` is no address of an endpoint
        """
        url, name = urldefrag(model)
        if not name:
            raise ModelError("which of the endpoint's models?", where=url, hint=f"{url}#NAME")
        return cls(url, name, slots=slots)

    def render(self, messages: Messages) -> str:
        return json.dumps(list(messages), ensure_ascii=False)

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        more = _fields(options)

        def one(n: int, prompt: str) -> Streamed:
            return self.ask(_messages(prompt), max_tokens, more, options, n)

        return self._all(one, prompts)

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        """The server is asked to hold the model to the answers (response_format); where it does not, what the model
        writes counts if it is exactly one of them."""
        return self._all(partial(self._choose, answers), prompts)

    def _choose(self, answers: Sequence[str], n: int, prompt: str) -> Streamed:
        *before, last = _messages(prompt)
        turns = [*before, {**last, "content": f"{last['content']}\n\nAnswer with exactly one of: {'; '.join(answers)}"}]
        longest = max(len(a.encode()) for a in answers)
        if self._holds_to_schema:
            try:
                came = self.ask(turns, longest + 16, _schema_field(_one_of(answers)))
            except Refused as e:
                if e.status not in UNKNOWN_FIELD:
                    raise
            else:
                answer = _named_in(came.text)
                if answer is not None and answer in answers:
                    return came.with_text(answer)
            self._holds_to_schema = False
        came = self.ask(turns, longest + 1)
        return came.with_text(came.text.strip())

    def _all(self, one: Callable[[int, str], Streamed], prompts: Sequence[str]) -> Answers:
        with ThreadPoolExecutor(self.slots) as pool:
            came = list(pool.map(one, range(len(prompts)), prompts))
        return Answers.counted([c.text for c in came], [Tokens(c.prompt_tokens, c.output_tokens) for c in came])

    def close(self) -> None:
        """Nothing is held."""

    def ask(
        self,
        messages: Messages,
        max_tokens: int,
        more: Mapping[str, Any] = NOTHING_MORE,
        options: Options = PLAIN,
        number: int = 0,
    ) -> Streamed:
        """Asks for one answer.

        Args:
            messages: the conversation
            max_tokens: the most that the answer may have
            more: further fields of the request
            options: who hears it meanwhile
            number: as which prompt they hear it

        Raises:
            ModelError: the endpoint cannot be used as asked
            RunFailure: it breaks off
        """
        begin = time.perf_counter()
        first: float | None = None
        usage: dict[str, Any] | None = None
        pieces: list[str] = []
        for event in self._events(messages, max_tokens, more):
            delta = _delta(event)
            if first is None and any(delta.get(k) for k in ("content", "reasoning_content", "reasoning")):
                first = time.perf_counter() - begin
            if isinstance(piece := delta.get("content"), str) and piece:
                pieces.append(piece)
                if options.stream is not None:
                    options.stream(number, piece)
            usage = event.get("usage") or usage
        end = time.perf_counter() - begin
        return Streamed("".join(pieces), *self._counts(usage), end if first is None else first, end)

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

    def _events(self, messages: Messages, max_tokens: int, more: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The objects of the answer's server-sent events, as they come."""
        try:
            with self._opener.open(self._request(messages, max_tokens, more), timeout=PATIENCE_SECONDS) as reply:
                while line := reply.readline(LONGEST_LINE):
                    if not line.strip() or line.startswith((b":", b"event:")):
                        continue
                    if line.strip() == b"data: [DONE]":
                        return
                    yield self._event(line)
        except urllib.error.HTTPError as e:
            refused = self._refused(f"answered {e.code} {e.reason}: {_start_of(e.read(2000))}")
            refused.status = e.code
            raise refused from e
        except (http.client.HTTPException, ConnectionError, TimeoutError) as e:
            raise RunFailure(f"the endpoint broke off: {type(e).__name__}: {e}", where=self.url) from e
        except urllib.error.URLError as e:
            raise ModelError(
                f"cannot reach the endpoint: {e.reason}", where=self.url, hint="start the server, or check the address"
            ) from e

    def _request(self, messages: Messages, max_tokens: int, more: Mapping[str, Any]) -> urllib.request.Request:
        body = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **more,
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

    def _refused(self, what: str) -> Refused:
        return Refused(
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


def _delta(event: dict[str, Any]) -> dict[str, Any]:
    """What an event brings of the answer (or of the thinking before it)."""
    choices = event.get("choices")
    delta = choices[0].get("delta") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    return delta if isinstance(delta, dict) else {}


def _messages(prompt: str) -> Messages:
    """The conversation that `render` made a prompt of; other text is one message of the user."""
    try:
        found = json.loads(prompt)
    except ValueError:
        found = None
    if isinstance(found, list) and found and all(isinstance(m, dict) and "content" in m for m in found):
        return found
    return [{"role": "user", "content": prompt}]


def _fields(options: Options) -> dict[str, Any]:
    """The fields of a request that ask for `options`."""
    fields: dict[str, Any] = {}
    if options.stop:
        fields["stop"] = list(options.stop)
    if (sampling := options.sampling).temperature > 0:
        fields |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
    if options.schema is not None:
        fields |= _schema_field(json.loads(options.schema))
    return fields


def _schema_field(schema: dict[str, Any]) -> dict[str, Any]:
    """https://platform.openai.com/docs/guides/structured-outputs."""
    named = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _one_of(answers: Sequence[str]) -> dict[str, Any]:
    """The JSON Schema of an object that holds one of `answers`."""
    answer = {"type": "string", "enum": list(answers)}
    return {"type": "object", "properties": {"answer": answer}, "required": ["answer"], "additionalProperties": False}


def _named_in(text: str) -> str | None:
    """The answer in an object of `_one_of`; None where the text is no such object."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found.get("answer") if isinstance(found, dict) else None


def _start_of(text: bytes) -> str:
    return repr(text[:200].decode("utf-8", errors="replace").strip())
