"""What every runtime must hold: closed sets stay closed, nothing is remembered, runtimes agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from lightbulb.runtimes.base import Measurable


@dataclass(frozen=True)
class RuntimeCase:
    """A runtime with a model that has learnt a few things by heart.

    memorised: (conversation, answer) pairs that greedy decoding must give back, and stop. answers: a closed set for
    which the model has tokens. texts: documents to score. reference: another runtime with the same weights.
    """

    runtime: Measurable
    memorised: Sequence[tuple[Sequence[dict[str, str]], str]]
    answers: Sequence[str]
    texts: Sequence[str]
    reference: Measurable | None = None

    def prompts(self, runtime: Measurable | None = None) -> list[str]:
        return [(runtime or self.runtime).render(turns) for turns, _ in self.memorised]


class RuntimeConformance:
    """Closed sets stay closed; decoding is greedy and stops at the end of the turn; nothing depends on neighbours or on
    what came before; likelihoods are positive, finite and complete; the model's own template is applied; two runtimes
    agree on one model. Needs a fixture `case` that gives a RuntimeCase."""

    def test_choose_stays_in_the_closed_set(self, case: RuntimeCase) -> None:
        prompts = case.prompts()
        said = case.runtime.choose(prompts, case.answers)
        assert len(said.texts) == len(prompts) and set(said.texts) <= set(case.answers)
        assert said.output_tokens == len(prompts) and said.prompt_tokens >= len(prompts)
        few = list(case.answers)[:2]
        assert set(case.runtime.choose(prompts, few).texts) <= set(few)
        assert case.runtime.choose(prompts, few[:1]).texts == few[:1] * len(prompts)

    def test_generate_is_greedy_and_stops(self, case: RuntimeCase) -> None:
        room = 4 * max(len(answer.encode()) for _, answer in case.memorised)
        said = case.runtime.generate(case.prompts(), room)
        assert [text.strip() for text in said.texts] == [answer for _, answer in case.memorised]
        assert said.output_tokens < room * len(case.memorised), "it went on after the end of the turn"

    def test_generate_keeps_to_max_tokens(self, case: RuntimeCase) -> None:
        prompts = case.prompts()
        said = case.runtime.generate(prompts, 1)
        assert said.output_tokens <= len(prompts)
        whole = case.runtime.generate(prompts, 64).texts
        assert all(text.startswith(first.rstrip("\ufffd")) for first, text in zip(said.texts, whole, strict=True))

    def test_neither_order_nor_history_matters(self, case: RuntimeCase) -> None:
        prompts, runtime = case.prompts(), case.runtime
        calls: list[Callable[[list[str]], list[Any]]] = [
            lambda p: runtime.choose(p, case.answers).texts,
            lambda p: runtime.generate(p, 8).texts,
        ]
        for call in calls:
            first = call(prompts)
            assert call(prompts) == first
            assert call(prompts[::-1]) == first[::-1]
            assert [call([p])[0] for p in prompts] == first
        assert runtime.choose([], case.answers).texts == []

    def test_likelihoods_are_complete(self, case: RuntimeCase) -> None:
        scores = case.runtime.score_texts(case.texts)
        for text, score in zip(case.texts, scores, strict=True):
            assert math.isfinite(score.nats) and score.nats > 0
            assert score.bytes == len(text.encode()) and 1 <= score.tokens <= score.bytes
            alone = case.runtime.score_texts([text])[0]
            assert alone.tokens == score.tokens and math.isclose(alone.nats, score.nats, rel_tol=1e-4)

    def test_render_applies_the_template(self, case: RuntimeCase) -> None:
        for turns, _ in case.memorised:
            text = case.runtime.render(turns)
            assert all(t["content"] in text for t in turns)
            assert text != "".join(t["content"] for t in turns), "nothing marks the end of the turn"

    def test_tokens_begin_the_answer_that_is_likeliest(self, case: RuntimeCase) -> None:
        """Greedy decoding begins with the likeliest token, whose probability is the greatest; among others it is the
        likeliest of these."""
        runtime = case.runtime
        for prompt, (_, answer) in zip(case.prompts(), case.memorised, strict=True):
            ids = runtime.tokenize(prompt)
            assert ids and all(isinstance(i, int) for i in ids) and runtime.tokenize(prompt) == ids
            best, log_prob = runtime.likeliest(ids, None, ids[0])
            certain = runtime.likeliest(ids, None, best)[1]
            assert -math.inf < log_prob <= certain <= 1e-6
            others = [i for i in dict.fromkeys(ids) if i != best][:3]
            assert runtime.likeliest(ids, [*others, best], best)[0] == best
            assert runtime.likeliest(ids, others, best)[0] in others
            assert math.isclose(runtime.likeliest(ids, others, best)[1], certain, abs_tol=1e-3)
            assert answer.startswith(runtime.generate([prompt], 1).texts[0].strip())

    def test_runtimes_agree(self, case: RuntimeCase) -> None:
        other = case.reference
        if other is None:
            pytest.skip("the case names no other runtime to agree with")
        prompts = case.prompts()
        assert case.prompts(other) == prompts
        assert other.choose(prompts, case.answers).texts == case.runtime.choose(prompts, case.answers).texts
        ours, theirs = case.runtime.generate(prompts, 32), other.generate(prompts, 32)
        assert [t.strip() for t in ours.texts] == [t.strip() for t in theirs.texts]
        assert (ours.prompt_tokens, ours.output_tokens) == (theirs.prompt_tokens, theirs.output_tokens)
        for a, b in zip(case.runtime.score_texts(case.texts), other.score_texts(case.texts), strict=True):
            assert (a.tokens, a.bytes) == (b.tokens, b.bytes)
            assert math.isclose(a.nats, b.nats, rel_tol=0.01), f"{a.nats} and {b.nats} nats"
        for prompt in prompts:
            ids = case.runtime.tokenize(prompt)
            assert other.tokenize(prompt) == ids
            best, log_prob = case.runtime.likeliest(ids, None, ids[-1])
            theirs_best, theirs_log_prob = other.likeliest(ids, None, ids[-1])
            assert best == theirs_best and math.isclose(log_prob, theirs_log_prob, rel_tol=0.02, abs_tol=0.02)
