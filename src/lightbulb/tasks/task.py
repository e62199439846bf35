"""What a task is: examples in three splits, the kind of answer, and the metric that scores it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

TaskKind = Literal["choose", "generate", "text"]
SplitName = Literal["train", "validation", "test"]
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: "system", "user" or "assistant"
        content: text
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One piece of work.

    Attributes:
        prompt: the question; empty for kind "text". Of a chat its last user message, for showing
        completion: the answer, or the document
        messages: the conversation before the answer when the data came as chat, else empty
    """

    prompt: str
    completion: str
    messages: tuple[Message, ...] = ()

    def key(self) -> str:
        """Identity of the question, blind to case and white space: equal keys are duplicates."""
        turns = [(m.role, m.content) for m in self.messages] or [("user", self.prompt or self.completion)]
        folded = json.dumps([[role, " ".join(text.casefold().split())] for role, text in turns], ensure_ascii=False)
        return hashlib.sha256(folded.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Outside:
    """Questions of a "choose" task that none of its answers fits. Nothing is learned from them.

    Attributes:
        label: what their completions say
        validation: by which it is chosen when to abstain, beside the validation split
        test: by which that is proven, beside the test split
        validation_share: of all questions, that such ones are, as they come with the validation split
        test_share: likewise, with the test split
    """

    label: str
    validation: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    validation_share: float = 0.0
    test_share: float = 0.0

    def split(self, name: SplitName) -> tuple[tuple[Example, ...], float]:
        """Its questions, and the share of all questions that they stand for; none of train."""
        found = {"validation": (self.validation, self.validation_share), "test": (self.test, self.test_share)}
        return found.get(name, ((), 0.0))


@dataclass(frozen=True, slots=True)
class Task:
    """Examples of one kind of work, split.

    Attributes:
        name: for showing
        kind: "choose" (one of a closed set of answers), "generate" (an answer is written) or "text" (documents)
        metric: a name that `metrics.score` knows, or module:function
        train: what is learned from
        validation: what decisions hang on
        test: what the proof is made with
        answers: the closed set of a "choose" task, sorted, else empty
        findings: sentences about what loading noticed and removed (duplicates, leakage, bad lines)
        source: where it came from
        reading: the options that were given; with `source` they load it again
        outside: questions that none of the answers fits, where the data have a label for them
    """

    name: str
    kind: TaskKind
    metric: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    answers: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    source: str = ""
    reading: dict[str, str] = field(default_factory=dict, compare=False)
    outside: Outside | None = None
    _fingerprint: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def split(self, name: SplitName, limit: int | None = None) -> tuple[Example, ...]:
        """Its examples in their order; at most the first `limit` of `spread`."""
        examples = self._examples(name)
        if limit is None or limit >= len(examples):
            return examples
        return tuple(examples[i] for i in sorted(self.spread(name)[:limit]))

    def spread(self, name: SplitName) -> list[int]:
        """Places of all examples in an order of which any beginning is spread evenly over the file, because files are
        often sorted by answer: by the fractional parts of multiples of the golden ratio (three-gap theorem, Sos 1958).
        Where every answer counts alike (macro-f1), the first of each comes before."""
        examples = self._examples(name)
        first = {e.completion: i for i, e in reversed(list(enumerate(examples)))} if self.metric == "macro-f1" else {}
        leads = set(first.values())
        return sorted(range(len(examples)), key=lambda i: (i not in leads, i * GOLDEN % 1.0))

    def _examples(self, name: SplitName) -> tuple[Example, ...]:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    @property
    def summary(self) -> str:
        """What was understood, in a line: to be seen before the work starts."""
        what = {
            "choose": f"choose one of {len(self.answers):,} answers",
            "generate": "write answers",
            "text": "model text",
        }
        sizes = f"{len(self.train):,} train, {len(self.validation):,} validation, {len(self.test):,} test examples"
        beside = ""
        if (none := self.outside) is not None:
            sizes_of_none = f"{len(none.validation):,} and {len(none.test):,}"
            beside = f"; beside the last two {sizes_of_none} labelled {none.label!r}, to abstain from"
        return f"{what[self.kind]}, scored by {self.metric}; {sizes}{beside}"

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that can change a result: kind, metric and every example in order."""
        if not self._fingerprint:
            digest = hashlib.sha256(json.dumps([self.kind, self.metric, self.answers]).encode())
            splits = [self.train, self.validation, self.test]
            if (beside := self.outside) is not None:
                splits += [beside.validation, beside.test]
                digest.update(json.dumps([beside.label, beside.validation_share, beside.test_share]).encode())
            for split in splits:
                digest.update(b"split")
                for e in split:
                    row = [e.prompt, e.completion, [[m.role, m.content] for m in e.messages]]
                    digest.update(json.dumps(row, ensure_ascii=True).encode())
            self._fingerprint.append(digest.hexdigest())
        return self._fingerprint[0]


def counted(n: int, noun: str) -> str:
    """ "1 row", "2,000 rows": for findings."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
