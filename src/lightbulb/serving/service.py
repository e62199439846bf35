"""A model at work: questions in, answers out, each with its tokens, CPU seconds and joules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, total
from lightbulb.energy.meter import Meter, Reading
from lightbulb.runtimes import check_opens, open_gguf
from lightbulb.runtimes.exchange import PLAIN, Answers, Options, Tokens

NEAR = 8  # tokens from the end of the context: a prompt that fills it so far may have lost its beginning

Hearer = Callable[[str], bool | None]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        turns: a conversation, {"role", "content"} each, in the form of the model's own chat template
        text: instead of it, text as it stands, to be written on
        max_tokens: of the answer; None for as many as the service allows and the context has room for
        options: how the answer is written
    """

    turns: tuple[dict[str, str], ...] = ()
    text: str | None = None
    max_tokens: int | None = None
    options: Options = PLAIN


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the runtime takes it. Prompts of one `way` can be answered side by side."""

    text: str
    max_tokens: int
    options: Options

    @property
    def way(self) -> tuple[int, Options]:
        return self.max_tokens, self.options


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it cost.

    Attributes:
        text: as the model wrote it
        probability: that it is right, as the model says; None where the runtime does not tell
        likeliest: what `probability` is of, where it was too low for that to be given, and `text` says so; else None
        unread: tokens of the question's beginning that the model had no room for
        prompt_tokens: read
        output_tokens: written
        whole: False where it was cut at its most tokens
        cpu_seconds: of reading and writing
        joules: likewise
    """

    text: str
    probability: float | None
    unread: int
    prompt_tokens: int
    output_tokens: int
    whole: bool
    cpu_seconds: Figure
    joules: Figure
    likeliest: str | None = None


class Spent(NamedTuple):
    """What all answers so far took: windows, answers, tokens, CPU seconds, joules."""

    windows: int
    answers: int
    tokens: Tokens
    cpu_seconds: Figure
    joules: Figure


_NOT_YET = "nothing was answered yet"
NOTHING = Spent(
    0, 0, Tokens(0, 0), Figure(value=None, unit="s", method=_NOT_YET), Figure(value=None, unit="J", method=_NOT_YET)
)


class Service:
    """A GGUF file, opened, with a meter beside it. Its methods are called from one thread at a time.

    Args:
        file: the .gguf
        runtime: the name of one that opens GGUF files
        threads: of the processor
        slots: questions side by side
        context: tokens of the longest question with its answer; the model's own where that is less
        most_tokens: of an answer

    Attributes:
        answers: the closed set that the model chooses from; empty where it writes
        abstention: when it gives none of them
        spent: by all answers so far
        meter: what takes the windows

    Raises:
        UserError: there is no such runtime, or it does not run this file
    """

    def __init__(
        self,
        file: Path,
        *,
        runtime: str = "llamacpp",
        threads: int = 2,
        slots: int = 1,
        context: int = 1024,
        most_tokens: int = 256,
    ):
        check_opens(runtime, "gguf")
        self.file, self.slots, self.most_tokens, self.spent = file, slots, most_tokens, NOTHING
        self.runtime = open_gguf(file, runtime, threads=threads, slots=slots, context=context)
        can = self.runtime.capabilities
        self.answers, self.abstention = self.runtime.info.answers, self.runtime.info.abstention
        self.context = min(context, self.runtime.context_length) if can.sees_tokens else None
        self.meter = Meter(gpus=not can.cpu_only)

    def prepare(self, question: Question) -> Prompt:
        """The question as a prompt.

        Raises:
            UserError: the model or its runtime cannot do what is asked, or has no room for it
        """
        if self.answers:
            if question.options.needs:
                raise UserError(
                    "this model chooses one of its answers", where="`schema`, `stop`", hint="leave them out"
                )
            turns = question.turns or ({"role": "user", "content": question.text or ""},)
            return Prompt(self.runtime.render(turns), 1, PLAIN)
        self.runtime.require(*question.options.needs)
        text = self.runtime.render(question.turns) if question.text is None else question.text
        return Prompt(text, self._room(text, question.max_tokens), question.options)

    def _room(self, text: str, asked: int | None) -> int:
        """Tokens that the answer may have."""
        wanted = self.most_tokens if asked is None else asked
        if self.context is None:
            read, left = 0, wanted
        elif wanted > 0 and len(text.encode()) + NEAR + wanted <= self.context:  # a token holds a byte or more
            return wanted
        else:
            read = len(self.runtime.tokenize(text))
            left = self.context - read
        if asked is None and left > 0:
            return min(wanted, left)
        _check_room(wanted, read, left)
        return wanted

    def answer(self, prompts: Sequence[Prompt], hearers: Sequence[Hearer] = ()) -> list[Answer]:
        """Answers prompts of one way side by side, in one window of the meter, which is shared out by tokens.

        Args:
            prompts: one or more
            hearers: one a prompt, told the pieces of its answer while they are written; what returns True may end it
        """
        stream = (lambda n, piece: hearers[n](piece)) if hearers and not self.answers else None
        with self.meter.window("answer") as window:
            made = self._made([p.text for p in prompts], prompts[0], stream)
        each = made.each or (Tokens(made.prompt_tokens, made.output_tokens),)
        self.spent = _with(self.spent, window.reading, each)
        costs = shared_out(window.reading, each)
        return [self._answer(n, prompt, made, each[n], *costs[n]) for n, prompt in enumerate(prompts)]

    def _made(self, texts: list[str], way: Prompt, stream: Callable[[int, str], bool | None] | None) -> Answers:
        if len(texts) > 1 and not self.runtime.capabilities.counts_each:
            return _joined([self._made([text], way, stream and _numbered(stream, n)) for n, text in enumerate(texts)])
        if self.answers:
            return self.runtime.answer(texts, self.answers)
        return self.runtime.generate(texts, way.max_tokens, replace(way.options, stream=stream))

    def _answer(self, n: int, prompt: Prompt, made: Answers, tokens: Tokens, cpu: Figure, joules: Figure) -> Answer:
        unread = 0
        if self.context is not None and tokens.read + NEAR >= self.context:
            unread = max(0, len(self.runtime.tokenize(prompt.text)) - tokens.read)
        probability = None if made.probabilities is None else made.probabilities[n]
        unsure = self._unsure(probability)
        return Answer(
            text=self.abstention.none if unsure else made.texts[n],
            probability=probability,
            likeliest=made.texts[n] if unsure else None,
            unread=unread,
            prompt_tokens=tokens.read,
            output_tokens=tokens.written,
            whole=bool(self.answers) or tokens.written < prompt.max_tokens,
            cpu_seconds=cpu,
            joules=joules,
        )

    def _unsure(self, probability: float | None) -> bool:
        """Whether none of the answers is given. Raises UserError where that cannot be known."""
        if not self.answers or not self.abstention.threshold:
            return False
        if probability is None:
            raise UserError(
                f"this model leaves out what it is not sure of, and {self.runtime.title} does not tell how sure it is",
                where="`runtime`",
                hint="`runtime=llamacpp`",
            )
        return probability < self.abstention.threshold

    def close(self) -> None:
        """Lets the model and the meter go."""
        self.runtime.close()
        self.meter.close()


def shared_out(reading: Reading, each: Sequence[Tokens]) -> list[tuple[Figure, Figure]]:
    """CPU seconds and joules of each answer of a window: its share of the tokens, read and written."""
    if len(each) == 1:
        return [(reading.cpu_seconds, reading.joules)]
    tokens = sum(map(sum, each))
    shares = [sum(one) / tokens if tokens else 1 / len(each) for one in each]
    return [(_part(reading.cpu_seconds, share, len(each)), _part(reading.joules, share, len(each))) for share in shares]


def _part(whole: Figure, share: float, answers: int) -> Figure:
    how = f"{share:.2%} of a window, its share of the tokens of {answers} answers side by side"
    return whole.scaled(share, whole.unit, "; ".join(filter(None, (how, whole.method))))


def _with(spent: Spent, reading: Reading, each: Sequence[Tokens]) -> Spent:
    before = [spent] if spent.windows else []
    how = "sum of the windows of all answers"
    return Spent(
        spent.windows + 1,
        spent.answers + len(each),
        Tokens(spent.tokens.read + sum(t.read for t in each), spent.tokens.written + sum(t.written for t in each)),
        total([*(s.cpu_seconds for s in before), reading.cpu_seconds], "s", how),
        total([*(s.joules for s in before), reading.joules], "J", how),
    )


def _numbered(stream: Callable[[int, str], bool | None], number: int) -> Callable[[int, str], bool | None]:
    return lambda _, piece: stream(number, piece)


def _joined(parts: Sequence[Answers]) -> Answers:
    """Answers to single prompts as those of a batch."""
    probabilities = [part.probabilities[0] for part in parts if part.probabilities is not None]
    each = tuple(Tokens(part.prompt_tokens, part.output_tokens) for part in parts)
    made = Answers.counted([part.texts[0] for part in parts], each)
    return replace(made, probabilities=tuple(probabilities) if len(probabilities) == len(parts) else None)


def _check_room(max_tokens: int, prompt_tokens: int, left: int) -> None:
    """Raises UserError where an answer of `max_tokens` does not fit into the `left` tokens beside its question."""
    if not 0 < max_tokens <= left:
        raise UserError(
            f"no room for an answer of {max_tokens:,} tokens: beside this question of {prompt_tokens:,} the model has"
            f" {max(0, left):,}",
            where="`max_tokens`" if left > 0 else None,
            hint=f"`max_tokens={min(256, left)}`" if left > 0 else "a shorter question",
        )
