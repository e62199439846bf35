"""What OpenAI's clients send and expect: requests as questions, answers as replies."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lightbulb.core.figures import total
from lightbulb.runtimes.exchange import Options, Sampling
from lightbulb.runtimes.grammar import parses
from lightbulb.serving.limits import TEXTS, Refused
from lightbulb.serving.service import Answer, Question

Record = dict[str, Any]

TURNS = 1024  # of a conversation
SCHEMA_BYTES, SCHEMA_DEPTH = 16_384, 24  # a grammar is made of it, by code that goes as deep as it does
SCHEMA_COUNT = 1000  # llama.cpp writes out as many rules as an array has items
COUNTS = {f"{end}{what}" for end in ("min", "max") for what in ("Items", "Length", "Properties", "Contains")}
NEUTRAL: Record = {  # what changes no answer at this value, and is refused at others
    "n": 1, "best_of": 1, "echo": False, "suffix": None, "logprobs": False, "top_logprobs": 0, "logit_bias": {},
    "presence_penalty": 0, "frequency_penalty": 0, "tools": [], "tool_choice": "none", "functions": [],
    "modalities": ["text"],
}  # fmt: skip
IGNORED = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}

Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Body(BaseModel):
    """A request. What it holds beside its fields must change no answer."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None

    @model_validator(mode="after")
    def _asks_for_nothing_else(self) -> Body:
        for name, value in (self.model_extra or {}).items():
            neutral = value is None or (name in NEUTRAL and value == NEUTRAL[name])
            if name not in IGNORED and not neutral:
                known = name in NEUTRAL
                shown = name if len(name) <= 60 else f"{name[:60]}..."
                raise Refused(
                    400,
                    f"{shown} is not served" if known else f"there is no parameter {shown!r}",
                    param=shown,
                    code="unsupported_parameter" if known else "unknown_parameter",
                )
        return self


class StreamOptions(BaseModel):
    include_usage: bool = False


class Written(Body):
    """What completions and chats share."""

    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=1 << 32)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def most_tokens(self) -> int | None:
        return self.max_tokens

    @property
    def schema_text(self) -> str | None:
        return None

    @property
    def tells_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def options(self) -> Options:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        sampling = Sampling()
        if self.temperature:
            sampling = Sampling(self.temperature, 1.0 if self.top_p is None else self.top_p, self.seed or 0)
        return Options(stop=stop, schema=self.schema_text, sampling=sampling)

    def check_followed(self, answers: Sequence[Answer]) -> None:
        """That the schema which was asked for was followed.

        Raises:
            Refused: a runtime could make nothing of it, and wrote on without it
        """
        if self.schema_text is not None and not self.stop and not all(map(_may_be_json, answers)):
            raise Refused(400, "the model could not be held to this schema", "response_format", "invalid_value")

    def check_choosing(self) -> None:
        """That nothing is asked for that only a model that writes can follow.

        Raises:
            Refused: it is
        """
        asked = {"stop": self.stop, "response_format": self.schema_text, "temperature": self.temperature}
        for name, value in asked.items():
            if value:
                raise Refused(
                    400, f"this model chooses one of its answers; leave out {name}", name, "unsupported_value"
                )


class Part(BaseModel):
    type: Literal["text"]
    text: str


class Turn(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(min_length=1, max_length=TURNS)]

    def as_learned(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": text.strip() if role == "user" else text}


class Format(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Record | None = None


class Chat(Written):
    """POST /v1/chat/completions."""

    messages: list[Turn] = Field(min_length=1, max_length=TURNS)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: Format | None = None

    @property
    def most_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def schema_text(self) -> str | None:
        asked = self.response_format
        if asked is None or asked.type == "text":
            return None
        schema = {"type": "object"} if asked.type == "json_object" else (asked.json_schema or {}).get("schema")
        return _checked(schema)

    def questions(self) -> list[Question]:
        turns = tuple(turn.as_learned() for turn in self.messages)
        if not any(turn["content"].strip() for turn in turns):
            raise Refused(400, "the question is empty", "messages", "invalid_value")
        return [Question(turns, max_tokens=self.most_tokens, options=self.options())]


class Completion(Written):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=TEXTS)]

    def questions(self) -> list[Question]:
        prompts = _texts(self.prompt, "prompt")
        options = self.options()
        return [Question(text=text, max_tokens=self.max_tokens, options=options) for text in prompts]


class Classify(Body):
    """POST /v1/classify."""

    input: str | Annotated[list[str], Field(min_length=1, max_length=TEXTS)]

    def questions(self) -> list[Question]:
        return [Question(({"role": "user", "content": text.strip()},)) for text in _texts(self.input, "input")]


AnyBody = TypeVar("AnyBody", bound=Body)


def read(kind: type[AnyBody], body: bytes) -> AnyBody:
    """A request of that kind.

    Raises:
        Refused: it is no JSON in UTF-8, or not such a request
    """
    try:
        record = json.loads(body.decode("utf-8"), parse_constant=_no_number)
        if b"\\u" in body:
            json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except UnicodeDecodeError as e:
        raise Refused(400, f"the body is not UTF-8: byte {e.start}", code="invalid_json") from e
    except UnicodeEncodeError as e:
        raise Refused(400, "half a surrogate pair is no text", code="invalid_json") from e
    except RecursionError as e:
        raise Refused(400, "the body is nested too deep", code="invalid_json") from e
    except ValueError as e:
        raise Refused(400, f"the body is no JSON: {str(e)[:200]}", code="invalid_json") from e
    if not isinstance(record, dict):
        raise Refused(400, "the body is no JSON object", code="invalid_json")
    try:
        return kind.model_validate(record)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False, include_context=False)[0]
        named = [str(part) for part in first["loc"] if str(part).isidentifier() or isinstance(part, int)]
        where = ".".join(named)[:100] or None
        raise Refused(400, f"{where}: {first['msg']}" if where else first["msg"], where, "invalid_value") from e
    except RecursionError as e:
        raise Refused(400, "the body is nested too deep", code="invalid_json") from e


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _texts(given: str | Sequence[str], name: str) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given)
    for n, text in enumerate(texts):
        if not text.strip():
            where = name if isinstance(given, str) else f"{name}.{n}"
            raise Refused(400, "the question is empty", where, "invalid_value")
    return texts


def _checked(schema: Any) -> str:
    """A JSON Schema as text, of a size that a grammar can be made of."""
    param = "response_format.json_schema.schema"
    if not isinstance(schema, dict):
        raise Refused(400, "a JSON Schema is an object", param, "invalid_value")
    text = json.dumps(schema)
    if len(text) > SCHEMA_BYTES or not _is_small(schema):
        most = f"at most {SCHEMA_BYTES:,} bytes, {SCHEMA_DEPTH} levels and {SCHEMA_COUNT:,} items"
        raise Refused(400, f"this schema is too large: {most}", param, "invalid_value")
    return text


def _may_be_json(answer: Answer) -> bool:
    """Whole JSON, or what begins as it where the answer was cut."""
    return parses(answer.text) if answer.whole else answer.text.lstrip()[:1] in '{["-0123456789tfn'


def _is_small(schema: Record) -> bool:
    """Neither deep nor with large numbers of anything."""
    level: list[Any] = [schema]
    for _ in range(SCHEMA_DEPTH + 1):
        counts = (outer[name] for outer in level if isinstance(outer, dict) for name in COUNTS & outer.keys())
        if any(isinstance(count, int | float) and count > SCHEMA_COUNT for count in counts):
            return False
        level = [inner for outer in level for inner in _within(outer)]
    return not level


def _within(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def result(number: int, answer: Answer, abstains: bool) -> Record:
    """One text of /v1/classify. abstains: whether the model may give none of its answers."""
    found = {"index": number, "answer": answer.text, "probability": answer.probability}
    if not abstains:
        return found
    return {**found, "abstained": answer.likeliest is not None, "likeliest": answer.likeliest or answer.text}


def usage(answers: Sequence[Answer]) -> Record:
    """Tokens as OpenAI counts them; CPU seconds and joules as figures, with source and interval."""
    read = sum(a.prompt_tokens for a in answers)
    written = sum(a.output_tokens for a in answers)
    cpu, joules = answers[0].cpu_seconds, answers[0].joules
    if len(answers) > 1:
        cpu = total([a.cpu_seconds for a in answers], "s", f"sum of {len(answers)} answers; each: {cpu.method}")
        joules = total([a.joules for a in answers], "J", f"sum of {len(answers)} answers; each: {joules.method}")
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "unread_tokens": sum(a.unread for a in answers),
        "cpu_seconds": cpu.model_dump(mode="json"),
        "joules": joules.model_dump(mode="json"),
    }


class Reply:
    """Replies to one request.

    Args:
        chat: in the form of chats, else of completions
    """

    def __init__(self, model: str, chat: bool):
        self._chat = chat
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._head = {"created": int(time.time()), "model": model}

    def whole(self, answers: Sequence[Answer]) -> Record:
        choices = []
        for n, answer in enumerate(answers):
            content: Record = {"text": answer.text}
            if self._chat:
                content = {"message": {"role": "assistant", "content": answer.text, "refusal": None}}
            choices.append(self._choice(n, content, answer))
        kind = "chat.completion" if self._chat else "text_completion"
        return {"id": self._id, "object": kind, **self._head, "choices": choices, "usage": usage(answers)}

    def begin(self) -> list[Record]:
        """What is sent before the first piece."""
        return [self._chunk([self._choice(0, {"delta": {"role": "assistant", "content": ""}})])] if self._chat else []

    def piece(self, number: int, text: str) -> Record:
        return self._chunk([self._choice(number, {"delta": {"content": text}} if self._chat else {"text": text})])

    def end(self, answers: Sequence[Answer], tells_usage: bool) -> list[Record]:
        content: Record = {"delta": {}} if self._chat else {"text": ""}
        last = [self._chunk([self._choice(n, content, answer)]) for n, answer in enumerate(answers)]
        return [*last, {**self._chunk([]), "usage": usage(answers)}] if tells_usage else last

    def _chunk(self, choices: list[Record]) -> Record:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return {"id": self._id, "object": kind, **self._head, "choices": choices, "usage": None}

    @staticmethod
    def _choice(number: int, content: Record, answer: Answer | None = None) -> Record:
        reason = None if answer is None else "stop" if answer.whole else "length"
        choice = {"index": number, **content, "logprobs": None, "finish_reason": reason}
        if answer is None or answer.probability is None:
            return choice
        unsure = {} if answer.likeliest is None else {"likeliest": answer.likeliest}
        return {**choice, "probability": answer.probability, **unsure}
