"""The paths of a service, in OpenAI's form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from lightbulb.serving import wire
from lightbulb.serving.batching import Batcher
from lightbulb.serving.guard import body_of
from lightbulb.serving.limits import Limits, Refused, refusal
from lightbulb.serving.metrics import Metrics
from lightbulb.serving.service import Answer, Question, Service

Came = TypeVar("Came")
GONE = Response(status_code=499)  # nobody hears it; in the metrics it is what others call it, too


class Routes:
    """Requests into the queue, answers out of it.

    Args:
        name: of the model, as clients call it
        created: seconds since 1970 when it was made
        service: the model; only its facts are read here
        batcher: its queue
        limits: of requests
        metrics: what /metrics shows
    """

    def __init__(self, name: str, created: int, service: Service, batcher: Batcher, limits: Limits, metrics: Metrics):
        self._name, self._service, self._batcher = name, service, batcher
        self._limits, self._metrics = limits, metrics
        about: dict[str, Any] = {"id": name, "object": "model", "created": created, "owned_by": "lightbulb"}
        self._about = {**about, "answers": list(service.answers) or None}
        self._abstains = bool(service.answers and service.abstention.threshold)
        if self._abstains:
            self._about |= {"none": service.abstention.none, "threshold": service.abstention.threshold}

    def app(self) -> FastAPI:
        """The routes as an ASGI application: without pages that load from elsewhere, and without telemetry."""
        silent: Any = {"auto_configure": False, "tracing": False, "metrics": False, "logs": False}
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, telemetry=silent)
        for status in (404, 405):
            app.add_exception_handler(status, _unknown)
        app.add_exception_handler(Exception, _pass_on)
        for path, answer in (("/health", self.health), ("/metrics", self.metrics), ("/v1/models", self.models)):
            app.add_api_route(path, answer, methods=["GET"], response_model=None)
        app.add_api_route("/v1/models/{name:path}", self.model, methods=["GET"], response_model=None)
        app.add_api_route("/v1/chat/completions", self.chat, methods=["POST"], response_model=None)
        app.add_api_route("/v1/completions", self.completions, methods=["POST"], response_model=None)
        app.add_api_route("/v1/classify", self.classify, methods=["POST"], response_model=None)
        return app

    async def health(self) -> Response:
        """Whether it answers."""
        alive = self._batcher.alive
        record = {"status": "ok" if alive else "stopping", "model": self._name, "waiting": self._batcher.waiting}
        return JSONResponse(record, 200 if alive else 503)

    async def metrics(self) -> Response:
        """For Prometheus."""
        return PlainTextResponse(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self) -> Response:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._about]})

    async def model(self, name: str) -> Response:
        """What is known of it."""
        self._check_model(name)
        return JSONResponse(self._about)

    async def chat(self, request: Request) -> Response:
        """The answer to a conversation."""
        return await self._written(request, wire.Chat)

    async def completions(self, request: Request) -> Response:
        """How texts go on; of a model that chooses, its answers to them."""
        return await self._written(request, wire.Completion)

    async def classify(self, request: Request) -> Response:
        """Which answer fits each text, and how sure the model is."""
        asked = await self._read(request, wire.Classify)
        if not self._service.answers:
            hint = "this model writes its answers: ask /v1/chat/completions"
            raise Refused(400, hint, "model", "unsupported_value")
        answers = await self._answers(request, asked.questions())
        if answers is None:
            return GONE
        results = [wire.result(n, answer, self._abstains) for n, answer in enumerate(answers)]
        record = {"object": "list", "model": self._name, "results": results, "usage": wire.usage(answers)}
        return JSONResponse(record)

    async def _read(self, request: Request, kind: type[wire.AnyBody]) -> wire.AnyBody:
        asked = wire.read(kind, await body_of(request.scope, request.receive, self._limits.body_bytes))
        if asked.model is not None:
            self._check_model(asked.model)
        return asked

    async def _answers(self, request: Request, questions: Sequence[Question]) -> list[Answer] | None:
        """None where the client has left before; then its questions are dropped at once, if none works on them."""
        future = self._batcher.submit(questions)
        try:
            return await _unless_gone(request, asyncio.wrap_future(future))
        finally:
            future.cancel()

    def _check_model(self, name: str) -> None:
        if name != self._name:
            raise Refused(404, f"the model here is called {self._name!r}", "model", "model_not_found")

    async def _written(self, request: Request, kind: type[wire.Chat] | type[wire.Completion]) -> Response:
        asked: wire.Chat | wire.Completion = await self._read(request, kind)
        if self._service.answers:
            asked.check_choosing()
        elif (asked.most_tokens or 0) > (most := self._limits.answer_tokens):
            raise Refused(400, f"an answer may have {most:,} tokens", "max_tokens", "invalid_value")
        reply = wire.Reply(self._name, chat=kind is wire.Chat)
        if asked.stream:
            return await self._streamed(request, asked, reply)
        answers = await self._answers(request, asked.questions())
        if answers is None:
            return GONE
        asked.check_followed(answers)
        return JSONResponse(reply.whole(answers))

    async def _streamed(self, request: Request, asked: wire.Chat | wire.Completion, reply: wire.Reply) -> Response:
        pieces = Pieces()
        pieces.follow(self._batcher.submit(asked.questions(), pieces.put))
        # before anything is promised: a question that cannot be answered is an error
        first = await _unless_gone(request, asyncio.ensure_future(pieces.next()))
        if first is None:
            pieces.drop()
            return GONE
        events = _events(first, pieces, reply, asked, bool(self._service.answers))
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


class Pieces:
    """An answer on its way from the model's thread to the event loop: pieces, then all answers."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
        self._future: Future[list[Answer]]

    def put(self, number: int, text: str) -> None:
        """Called from the model's thread."""
        self._tell((number, text))

    def follow(self, future: Future[list[Answer]]) -> None:
        self._future = future
        future.add_done_callback(lambda _: self._tell(None))

    def _tell(self, event: tuple[int, str] | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def next(self) -> tuple[int, str] | list[Answer]:
        """Raises what kept the model from answering."""
        try:
            event = await self._queue.get()
        except asyncio.CancelledError:
            self.drop()
            raise
        return self._future.result() if event is None else event

    def drop(self) -> None:
        """Nobody waits for it any more."""
        self._future.cancel()


async def _events(
    event: tuple[int, str] | list[Answer], pieces: Pieces, reply: wire.Reply, asked: wire.Written, chooses: bool
) -> AsyncIterator[bytes]:
    """Server-sent events, up to [DONE]; where the model fails on the way, its error is the last of them."""
    try:
        for record in reply.begin():
            yield _event(record)
        while isinstance(event, tuple):
            yield _event(reply.piece(*event))
            event = await pieces.next()
        if chooses:  # it writes no pieces
            for n, answer in enumerate(event):
                yield _event(reply.piece(n, answer.text))
        asked.check_followed(event)
        for record in reply.end(event, asked.tells_usage):
            yield _event(record)
        yield b"data: [DONE]\n\n"
    except Exception as e:
        yield _event(refusal(e).body)
    finally:
        pieces.drop()


def _event(record: wire.Record) -> bytes:
    return b"data: " + json.dumps(record, separators=(",", ":")).encode() + b"\n\n"


async def _unless_gone(request: Request, coming: asyncio.Future[Came]) -> Came | None:
    """What comes; None where the client has left before, whose request is dropped."""
    gone = asyncio.ensure_future(_left(request))
    try:
        either: set[asyncio.Future[Any]] = {coming, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else None
    finally:
        gone.cancel()
        coming.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        """The body was read; only its end can come."""


async def _unknown(request: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    if getattr(error, "status_code", None) == 405:
        raise Refused(405, f"{request.method} is not served here", code="method_not_allowed")
    raise Refused(404, f"there is no {request.url.path[:100]}", code="not_found")


async def _pass_on(request: Request, error: Exception) -> Response:
    raise error
