"""From tokens to answers: what one costs, and what a right one does.

Tokens that a model thinks are tokens that it writes. Where an answer is right with probability p and a wrong one is
asked for again, at most r times, a question takes (1 - (1 - p)^(r + 1)) / p answers and is right in the end with
1 - (1 - p)^(r + 1). A right answer costs cost / p either way, as long as tries are independent and somebody sees which
are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, bounds
from lightbulb.core.files import read_json
from lightbulb.measuring.costs import per_right_answer


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """What a question and its answer are made of.

    Attributes:
        prompt: tokens read
        answer: tokens written that somebody reads
        thinking: tokens written before them
        right: share of the answers that are right; None where it is not known
        retries: how often a wrong answer is asked for again
        source: where these figures are from, in words
    """

    prompt: float
    answer: float
    thinking: float = 0.0
    right: Figure | None = None
    retries: int = 0
    source: str = ""

    @property
    def written(self) -> float:
        """Tokens written for one answer."""
        return self.answer + self.thinking

    @property
    def context(self) -> int:
        """Where a written token stands, in the mean."""
        return max(1, round(self.prompt + self.written / 2))


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """What an answer costs.

    Attributes:
        tokens: that it is made of
        joules_per_answer: one try
        tries_per_question: with the retries that were allowed; None where it is not known what is right
        right_in_the_end: share of the questions, after them; likewise
        joules_per_question: all its tries; likewise
        joules_per_right_answer: likewise
    """

    tokens: AnswerTokens
    joules_per_answer: Figure
    tries_per_question: Figure | None = None
    right_in_the_end: Figure | None = None
    joules_per_question: Figure | None = None
    joules_per_right_answer: Figure | None = None


def answer_cost(tokens: AnswerTokens, joules: Figure) -> AnswerCost:
    """What follows from the joules of one answer."""
    right = tokens.right
    if right is None or right.value is None:
        return AnswerCost(tokens, joules)
    low, high = bounds(right) or (right.value, right.value)
    tries, success = (
        Figure(
            value=function(right.value, tokens.retries),
            low=min(function(low, tokens.retries), function(high, tokens.retries)),
            high=max(function(low, tokens.retries), function(high, tokens.retries)),
            unit="",
            source="estimated" if right.source == "estimated" else "derived",
            method=f"at most {tokens.retries} retries, each as likely right as the first",
        )
        for function in (_tries, _success)
    )
    least, most = bounds(joules) or (0.0, 0.0)
    question = Figure(
        value=(joules.value or 0.0) * (tries.value or 0.0),
        low=least * (tries.low or 0.0),
        high=most * (tries.high or 0.0),
        unit=joules.unit,
        source="estimated",
        scope=joules.scope,
        method=f"{joules.method}; x tries of a question",
    )
    return AnswerCost(tokens, joules, tries, success, question, per_right_answer(joules, right))


def _tries(p: float, retries: int) -> float:
    return sum((1 - p) ** n for n in range(retries + 1))


def _success(p: float, retries: int) -> float:
    return 1 - (1 - p) ** (retries + 1)


def tokens_of_run(path: Path, *, retries: int = 0, thinking: float = 0.0) -> AnswerTokens:
    """Tokens of a question and its answer, and the share right, as a run has measured them of what it hands out.

    Args:
        path: a run folder or its result.json
        retries: as for `AnswerTokens`
        thinking: tokens beside those that the run counted

    Raises:
        UserError: it is no result, hands out nothing, or has not counted tokens
    """
    file = path / "result.json" if path.is_dir() else path
    where, hint = str(file), "a folder that `lightbulb shrink` wrote"
    if not file.is_file():
        raise UserError("there is no result", where=where, hint=hint)
    found = read_json(file)
    student: Any = (found.get("student") or {}) if isinstance(found, dict) else {}
    try:
        figures = {
            key: Figure.model_validate(student[key])
            for key in ("score", "prompt_tokens_per_answer", "output_tokens_per_answer")
        }
    except (KeyError, TypeError, ValidationError) as e:
        raise UserError("the result hands out nothing whose tokens were counted", where=where, hint=hint) from e
    score, prompt, output = figures.values()
    if prompt.value is None or output.value is None or not score.value or not 0 < score.value <= 1:
        raise UserError("the result does not say how many answers are right", where=where, hint=hint)
    metric = found.get("metric", "score")
    return AnswerTokens(prompt.value, output.value, thinking, score, retries, f"{metric} and tokens of {file}")
