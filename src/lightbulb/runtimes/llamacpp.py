"""llama.cpp through the prebuilt wheel xllamacpp: the runtime that ships."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lightbulb.core.errors import ModelError, RunFailure
from lightbulb.models.families import MATMULFREE
from lightbulb.models.form import shortened
from lightbulb.models.gguf_info import answer_tokens, read_gguf
from lightbulb.models.gguf_shape import RECURRENT, architecture_of
from lightbulb.models.spec import ModelSpec
from lightbulb.runtimes.base import EVERYTHING, Capabilities, ModelForm, ModelInfo, Runtime, windows
from lightbulb.runtimes.exchange import PLAIN, Answers, NextToken, Options, TextScore, Tokens

FORCE = 10_000.0  # a logit bias that no model outvotes
LEAST = -80.0  # nats: what is less likely has no probability in single precision
UNSAMPLED = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "post_sampling_probs": True}


def _tokens_of(reply: dict[str, Any]) -> Tokens:
    return Tokens(reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"])


class LlamaCpp(Runtime):
    """A GGUF file loaded into llama.cpp. Nothing is cached from one prompt to the next.

    Args:
        path: the file
        threads: of the processor
        slots: prompts worked on side by side; 1 is how a single user meets the model and what costs are measured with
        context: tokens of one prompt with its answer, at most what the model knows; a longer prompt loses its beginning

    Raises:
        ModelError: the file is damaged, or llama.cpp cannot load it
    """

    name: ClassVar[str] = "llamacpp"
    title: ClassVar[str] = "llama.cpp"
    opens: ClassVar[ModelForm] = "gguf"
    library: ClassVar[str] = "xllamacpp"
    install: ClassVar[str] = "pip install xllamacpp"
    capabilities: ClassVar[Capabilities] = EVERYTHING

    def __init__(self, path: Path, *, threads: int = 2, slots: int = 1, context: int = 1024):
        import xllamacpp

        self.path, self.slots = path, slots
        self._gguf = read_gguf(path)  # a clear error for a file that llama.cpp would abort on
        self.info = ModelInfo.of_gguf(str(path), self._gguf)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        self.context = min(context, self._gguf.context_length)
        params.n_parallel, params.n_ctx = slots, self.context * slots
        params.n_batch = params.n_ubatch = 512
        params.n_gpu_layers = 0
        for cpu in (params.cpuparams, params.cpuparams_batch):
            cpu.n_threads = threads
        params.cache_ram_mib = params.n_ctx_checkpoints = 0
        params.cache_idle_slots = params.warmup = False
        params.verbosity = -1
        try:
            self._server = xllamacpp.Server(params)
        except Exception as e:
            raise ModelError(
                f"llama.cpp cannot load this file: {e}",
                where=str(path),
                hint="export the file again; what llama.cpp cannot load is a template, a tokenizer or a family that it "
                "does not know",
            ) from e
        self._complete({"prompt": "a", "max_tokens": 1})  # a server that never worked hangs when it is closed

    @classmethod
    def open(cls, model: Path, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        return cls(model, threads=threads, slots=slots, context=context)

    @classmethod
    def supports(cls, spec: ModelSpec) -> bool:
        """Whether llama.cpp runs the architecture that a GGUF of `spec` has.

        Raises:
            UnsupportedModel: no GGUF can hold it
        """
        return architecture_of(spec) not in (MATMULFREE, RECURRENT)

    def _complete(self, request: dict[str, Any]) -> dict[str, Any]:
        reply = self._server.handle_completions({"temperature": 0, "cache_prompt": False, **request})
        reply = json.loads(reply) if isinstance(reply, str) else reply
        if "choices" in reply:
            return reply
        return self._complete(self._fitting(request, reply.get("error", reply)))

    def _fitting(self, request: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
        """A request that was too long, with less of its prompt. Raises RunFailure for any other error."""
        if error.get("type") == "exceed_context_size_error" and isinstance(request["prompt"], str):
            room = max(1, error["n_ctx"] - request["max_tokens"] - 1)
            cut = shortened(self.tokenize(request["prompt"]), room, self._gguf.bos)  # as in training
            return {**request, "prompt": cut}
        raise RunFailure(f"llama.cpp refused a prompt: {error}", where=str(self.path))

    def _stream(self, request: dict[str, Any], hear: Callable[[str], bool | None]) -> dict[str, Any]:
        """As `_complete`, while `hear` is told each piece of the text, and may end it."""
        pieces: list[str] = []
        last: dict[str, Any] = {}

        def arrived(reply: Any) -> bool:
            """What is True ends llama.cpp's work; then it tells no usage."""
            reply = json.loads(reply) if isinstance(reply, str) else reply
            last.update(reply)
            if (choices := reply.get("choices")) and (text := choices[0]["text"]):
                pieces.append(text)
                if hear(text) is True:
                    last["usage"] = self._counted(request["prompt"], "".join(pieces))
                    return True
            return False

        asked = {"temperature": 0, "cache_prompt": False, **request}
        more = {"stream": True, "stream_options": {"include_usage": True}}
        self._server.handle_completions({**asked, **more}, arrived)
        if "usage" not in last:
            return self._stream(self._fitting(request, last.get("error", last)), hear)
        return {"choices": [{"text": "".join(pieces)}], "usage": last["usage"]}

    def _counted(self, prompt: str | list[int], text: str) -> dict[str, int]:
        read = self.tokenize(prompt) if isinstance(prompt, str) else prompt
        return {"prompt_tokens": len(read), "completion_tokens": max(1, len(self._tokens(text, special=False)))}

    def _all(
        self,
        prompts: Sequence[str] | Sequence[list[int]],
        request: dict[str, Any],
        stream: Callable[[int, str], bool | None] | None = None,
    ) -> Answers:
        """One request a prompt, one for each slot at a time: of a list of prompts llama.cpp would count the
        tokens of one only."""

        def one(n: int) -> dict[str, Any]:
            asked = {"prompt": prompts[n], **request}
            return self._complete(asked) if stream is None else self._stream(asked, partial(stream, n))

        replies = self._side_by_side(one, len(prompts))
        return Answers.counted([r["choices"][0]["text"] for r in replies], [_tokens_of(r) for r in replies])

    def _side_by_side(self, one: Callable[[int], dict[str, Any]], count: int) -> list[dict[str, Any]]:
        if self.slots == 1:
            return [one(n) for n in range(count)]
        with ThreadPoolExecutor(self.slots) as pool:
            return list(pool.map(one, range(count)))

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        if self.info.temperature is not None:
            scores, each = self._scored(prompts, answers)
            return Answers.likeliest(scores, self.info.temperature, answers, each)
        ids = answer_tokens(self._gguf, answers, self.path)
        return self._all(prompts, {"max_tokens": 1, "logit_bias": [[i, FORCE] for i in ids]})

    def score_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        return self._scored(prompts, answers)[0]

    def _scored(self, prompts: Sequence[str], answers: Sequence[str]) -> tuple[np.ndarray, list[Tokens]]:
        """Log-probabilities of the answers [prompts, answers], and the tokens of each prompt: what llama.cpp's sampler
        has left when all but the answers are out of the question. Which of them it draws does not matter."""
        ids = answer_tokens(self._gguf, answers, self.path)
        asked = {"max_tokens": 1, "logit_bias": [[i, FORCE] for i in ids], "logprobs": len(ids), **UNSAMPLED}
        replies = self._side_by_side(lambda n: self._complete({"prompt": prompts[n], **asked}), len(prompts))
        scores = np.full((len(prompts), len(ids)), LEAST)
        place = {i: n for n, i in enumerate(ids)}
        for row, reply in zip(scores, replies, strict=True):
            (first,) = reply["choices"][0]["logprobs"]["content"]
            for token in first["top_probs"]:
                row[place[token["id"]]] = math.log(max(token["prob"], math.exp(LEAST)))
        return scores, [_tokens_of(reply) for reply in replies]

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        request: dict[str, Any] = {"max_tokens": max_tokens}
        if options.schema is not None:
            request["json_schema"] = json.loads(options.schema)
        if options.stop:
            request["stop"] = list(options.stop)
        if (sampling := options.sampling).temperature > 0:
            alone = {"top_k": 0, "min_p": 0.0}  # not what llama.cpp does beside
            request |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed, **alone}
        return self._all(prompts, request, options.stream)

    def write_exactly(self, prompts: Sequence[Sequence[int]], tokens: int) -> Answers:
        written = self._all([list(p) for p in prompts], {"max_tokens": tokens, "ignore_eos": True})
        if written.output_tokens != tokens * len(prompts):  # the context was full
            asked = f"{tokens * len(prompts)} tokens asked, {written.output_tokens} written"
            raise RunFailure(f"llama.cpp stopped early: {asked}", where=str(self.path))
        return written

    @property
    def context_length(self) -> int:
        return self._gguf.context_length

    def score_texts(self, texts: Sequence[str]) -> list[TextScore]:
        return [self._score(text) for text in texts]

    def _score(self, text: str) -> TextScore:
        """One decode a token: the next token is forced by a bias; the prefix stays in the cache."""
        ids = self.tokenize(text)
        nats = -sum(self._log_prob(w[:n], w[n]) for w in windows(ids, self.context) for n in range(1, len(w)))
        return TextScore(nats, len(ids) - 1, len(text.encode()))

    def score_next(self, prompt: Sequence[int], among: Sequence[int] | None, asked: int) -> NextToken:
        ids = list(prompt)
        best = self._next(ids, among)[0]["id"] if among else self._top(ids, 1)[0]["id"]
        return NextToken(best, self._log_prob(ids, asked))

    def _log_prob(self, prompt: list[int], token: int) -> float:
        """Natural log-probability of one next token."""
        if seen := self._next(prompt, [token]):
            return seen[0]["logprob"]
        return next(t["logprob"] for t in self._top(prompt, self._gguf.vocabulary) if t["id"] == token)

    def _top(self, prompt: list[int], n: int) -> list[dict[str, Any]]:
        """The n likeliest next tokens with their log-probabilities; what is sampled meanwhile is a whole character."""
        return self._next(prompt, [self._letter], n)[0]["top_logprobs"]

    @cached_property
    def _letter(self) -> int:
        return self.tokenize("e")[-1]

    def _next(self, prompt: list[int], among: Sequence[int], top: int = 1) -> list[dict[str, Any]]:
        """The next token out of `among`, with log-probabilities from before that constraint; nothing when it ends
        within a UTF-8 character, for which llama.cpp reports none."""
        reply = self._complete(
            {
                "prompt": prompt,
                "max_tokens": 1,
                "logprobs": top,
                "cache_prompt": True,
                "logit_bias": [[i, FORCE] for i in among],
            }
        )
        return (reply["choices"][0]["logprobs"] or {}).get("content", [])

    def tokenize(self, text: str) -> list[int]:
        """Token ids as llama.cpp sees rendered text, its own BOS included."""
        return self._tokens(text, special=True)

    def _tokens(self, text: str, special: bool) -> list[int]:
        return self._post("/tokenize", {"content": text, "add_special": special, "parse_special": special})["tokens"]

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """The file's own chat template, applied by llama.cpp, without the BOS that tokenizing adds.

        Raises:
            ModelError: the template cannot be applied
        """
        try:
            reply = self._post("/apply-template", {"messages": list(messages)})
        except urllib.error.HTTPError as e:
            text = e.read().decode(errors="replace")[:200]
            raise ModelError(f"the chat template cannot render this conversation: {text}", where=str(self.path)) from e
        return reply["prompt"].removeprefix(self._gguf.added_bos)

    def _post(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self._server.listening_address + endpoint,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as reply:
            return json.loads(reply.read())  # loopback only: the address is this process's own

    def close(self) -> None:
        self.__dict__.pop("_server", None)
