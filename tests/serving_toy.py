"""A runtime that tests hold in their hands, and a client of a service on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, ClassVar, Self

from lightbulb.models.abstention import Abstention
from lightbulb.runtimes.base import Capabilities, ModelInfo, Runtime
from lightbulb.runtimes.exchange import PLAIN, Answers, Options, Tokens
from lightbulb.serving.serve import Serving

ANSWERS = ("card", "cash", "loan")
CAN = Capabilities(
    closed_set=True, schema=True, stop=True, stream=True, sampling=True, sees_tokens=True, batch=True, counts_each=True
)


class Toy(Runtime):
    """Reads and writes words. It answers a question by the answer that stands in it, else by the first; it writes the
    words of its prompt again and again. `poison` in a prompt makes it fail. Tests set how long a word takes, and
    see which prompts came together."""

    name, title, opens = "toy", "the toy runtime", "gguf"
    capabilities: ClassVar[Capabilities] = CAN
    answers: ClassVar[tuple[str, ...]] = ()
    probabilities: ClassVar[bool] = False
    abstention: ClassVar[Abstention] = Abstention()
    seconds_per_word: ClassVar[float] = 0.0
    gate: ClassVar[threading.Event] = threading.Event()
    calls: ClassVar[list[list[str]]] = []

    def __init__(self, path: Path):
        self.info = ModelInfo(str(path), "toy", answers=self.answers, abstention=self.abstention)

    @classmethod
    def open(cls, model: Path, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        return cls(model)

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        return "\n".join(f"{turn['role']}: {turn['content']}" for turn in messages)

    def tokenize(self, text: str) -> list[int]:
        return [len(word) for word in text.split()]

    @property
    def context_length(self) -> int:
        return 500

    def _called(self, prompts: Sequence[str]) -> None:
        self.calls.append(list(prompts))
        self.gate.wait()
        if any("poison" in prompt for prompt in prompts):
            raise RuntimeError("/secret/path failed")

    def _counted(self, texts: list[str], prompts: Sequence[str], written: list[int]) -> Answers:
        each = [Tokens(len(p.split()), w) for p, w in zip(prompts, written, strict=True)]
        made = Answers.counted(texts, each)
        told = tuple(0.25 + 0.5 * (text in p) for text, p in zip(texts, prompts, strict=True))
        return Answers(
            made.texts,
            made.prompt_tokens,
            made.output_tokens,
            told if self.probabilities else None,
            made.each if self.capabilities.counts_each else None,
        )

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        self._called(prompts)
        texts = [next((a for a in answers if a in p), answers[0]) for p in prompts]
        return self._counted(texts, prompts, [1] * len(prompts))

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        self._called(prompts)
        said: list[list[str]] = [[] for _ in prompts]
        heard = [True] * len(prompts)
        for i in range(max_tokens):
            if not any(heard):
                break
            time.sleep(self.seconds_per_word)
            for n, prompt in enumerate(prompts):
                if heard[n]:
                    piece = prompt.split()[i % len(prompt.split())] + " "
                    said[n].append(piece)
                    heard[n] = options.stream is None or options.stream(n, piece) is not True
        return self._counted(["".join(words) for words in said], prompts, [len(words) for words in said])

    def close(self) -> None:
        """Nothing is held."""


class Client:
    """A service that listens, and requests to it."""

    def __init__(self, told: Serving):
        self.told = told
        self.port = int(told.address.rpartition(":")[2])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, body, kind | shown)
        return connection.getresponse()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        reply = self.send("GET", path, **headers)
        text = reply.read().decode()
        return reply.status, json.loads(text) if "json" in (reply.getheader("Content-Type") or "") else text

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        reply = self.send("POST", path, json.dumps(body).encode())
        return reply.status, json.loads(reply.read())

    def chat(self, text: str, **more: Any) -> tuple[int, Any]:
        return self.post("/v1/chat/completions", messages=[{"role": "user", "content": text}], **more)

    def events(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """What is streamed, without [DONE], which must be its end."""
        reply = self.send("POST", path, json.dumps({**body, "stream": True}).encode())
        assert reply.status == 200 and (reply.getheader("Content-Type") or "").startswith("text/event-stream")
        *events, done, rest = reply.read().decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def metric(self, name: str) -> float:
        """A sample of /metrics; `name` is how its line begins."""
        lines = self.get("/metrics")[1].splitlines()
        return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])
