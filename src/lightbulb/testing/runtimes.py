"""What every runtime must hold: all that any verb calls works as said, and what it cannot do it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import pytest

from lightbulb.core.errors import UserError
from lightbulb.models.spec import ModelSpec
from lightbulb.runtimes.base import WORDS, Capabilities, Runtime
from lightbulb.runtimes.exchange import Answers, Options, Sampling

SCHEMA = {
    "type": "object",
    "properties": {"device": {"enum": ["door", "lamp"]}, "count": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["device", "count"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class RuntimeCase:
    """A runtime with a model that has learnt a few things by heart.

    Attributes:
        runtime: with the model opened
        memorised: (conversation, answer) pairs that greedy decoding must give back, and stop; answers of ten characters
            or more
        answers: a closed set for which the model has tokens
        texts: documents to score
        reference: another runtime with the same weights
        opened: opens the runtime anew on the same model
        spec: what the model is
    """

    runtime: Runtime
    memorised: Sequence[tuple[Sequence[dict[str, str]], str]]
    answers: Sequence[str]
    texts: Sequence[str]
    reference: Runtime | None = None
    opened: Callable[[], Runtime] | None = None
    spec: ModelSpec | None = None

    def prompts(self, runtime: Runtime | None = None) -> list[str]:
        """The memorised conversations, rendered."""
        return [(runtime or self.runtime).render(turns) for turns, _ in self.memorised]

    def needs(self, *capabilities: str) -> None:
        """Skips the test where the runtime says that it cannot do this."""
        for name in capabilities:
            if not getattr(self.runtime.capabilities, name):
                pytest.skip(f"{self.runtime.name} does not {WORDS[name]}")


class RuntimeConformance:
    """It says what it is and what it can do; closed sets stay closed; decoding is greedy and stops at the end of the
    turn, at a stop string, at the end of a schema; what is streamed is the answer; the same seed draws the same;
    nothing depends on neighbours or on what came before; likelihoods are positive, finite and complete; so many tokens
    are written as are asked; the model's own template is applied; two runtimes agree on one model; what it cannot do it
    refuses. Needs a fixture `case` that gives a RuntimeCase."""

    def test_it_says_what_it_is(self, case: RuntimeCase) -> None:
        runtime, info = case.runtime, case.runtime.info
        assert runtime.name and not any(c.isspace() for c in runtime.name) and runtime.title
        assert runtime.opens in ("gguf", "folder", "url") and runtime.installed()
        assert not runtime.library or runtime.install, "what is to be typed where its library is missing?"
        assert info.name and (info.bytes is None or info.bytes > 0)
        if runtime.capabilities.sees_tokens:
            assert info.context_length == runtime.context_length > 0
        if info.vocabulary is not None and runtime.capabilities.sees_tokens:
            assert all(0 <= i < info.vocabulary for prompt in case.prompts() for i in runtime.tokenize(prompt))
        if runtime.capabilities.closed_set:
            assert set(case.answers) <= set(info.answers)
        if case.spec is not None:
            assert runtime.supports(case.spec)

    def test_what_it_cannot_do_is_refused_clearly(self, case: RuntimeCase) -> None:
        """Before work starts (`require`), and by the call itself."""
        can = case.runtime.capabilities
        assert isinstance(can, Capabilities) and set(WORDS) < {field.name for field in fields(can)}
        cannot = [name for name in WORDS if not getattr(can, name)]
        case.runtime.require(*(name for name in WORDS if name not in cannot))
        for name in cannot:
            for refused in _calls(case, name):
                error = _error_of(refused)
                assert isinstance(error, UserError), f"without {name}: {error!r}"
                assert WORDS[name] in error.what and "runtime=" in (error.hint or "")

    def test_choose_stays_in_the_closed_set(self, case: RuntimeCase) -> None:
        prompts = case.prompts()
        chosen = case.runtime.answer(prompts, case.answers)
        assert len(chosen.texts) == len(prompts) and chosen.prompt_tokens >= len(prompts)
        case.needs("closed_set")
        assert set(chosen.texts) <= set(case.answers) and chosen.output_tokens == len(prompts)
        case.needs("generates")  # or it was made for all its answers together
        few = list(case.answers)[:2]
        assert set(case.runtime.answer(prompts, few).texts) <= set(few)
        assert case.runtime.answer(prompts, few[:1]).texts == few[:1] * len(prompts)

    def test_probabilities_are_those_of_the_answers(self, case: RuntimeCase) -> None:
        prompts = case.prompts()
        answered = case.runtime.answer(prompts, case.answers)
        if answered.probabilities is None:
            pytest.skip(f"{case.runtime.name} tells no probabilities")
        assert len(answered.probabilities) == len(prompts)
        assert all(1 / len(case.answers) - 1e-6 <= p <= 1 for p in answered.probabilities), "the likeliest has the most"

    def test_an_answer_is_the_likeliest_of_its_scores(self, case: RuntimeCase) -> None:
        """Whichever answers they are asked beside."""
        case.needs("scores_answers", "closed_set")
        prompts, answers = case.prompts(), list(case.answers)
        scores = case.runtime.score_answers(prompts, answers)
        assert scores.shape == (len(prompts), len(answers)) and np.isfinite(scores).all()
        assert [answers[i] for i in scores.argmax(axis=1)] == case.runtime.answer(prompts, answers).texts
        two = case.runtime.score_answers(prompts, answers[1::-1])
        assert np.allclose(two[:, 1] - two[:, 0], scores[:, 0] - scores[:, 1], atol=0.02)
        if case.reference is not None and case.reference.capabilities.scores_answers:
            also = case.reference.score_answers(case.prompts(case.reference), answers)
            assert np.allclose(scores - scores[:, :1], also - also[:, :1], atol=0.2)

    def test_generate_is_greedy_and_stops(self, case: RuntimeCase) -> None:
        case.needs("generates")
        room = 4 * max(len(answer.encode()) for _, answer in case.memorised)
        completions = case.runtime.generate(case.prompts(), room)
        assert [text.strip() for text in completions.texts] == [answer for _, answer in case.memorised]
        assert completions.output_tokens < room * len(case.memorised), "it went on after the end of the turn"

    def test_generate_keeps_to_max_tokens(self, case: RuntimeCase) -> None:
        case.needs("generates")
        prompts = case.prompts()
        completions = case.runtime.generate(prompts, 1)
        assert completions.output_tokens <= len(prompts)
        whole = case.runtime.generate(prompts, 64).texts
        assert all(
            text.startswith(first.rstrip("\ufffd")) for first, text in zip(completions.texts, whole, strict=True)
        )

    def test_an_answer_follows_a_schema(self, case: RuntimeCase) -> None:
        case.needs("schema")
        completions = case.runtime.generate(case.prompts(), 200, Options(schema=json.dumps(SCHEMA)))
        for text in completions.texts:
            found = json.loads(text)
            assert set(found) == {"device", "count"}
            assert found["device"] in ("door", "lamp") and found["count"] in range(1, 10)

    def test_an_answer_ends_before_a_stop_string(self, case: RuntimeCase) -> None:
        case.needs("stop")
        prompts = case.prompts()
        whole = case.runtime.generate(prompts, 64)
        for prompt, text in zip(prompts, whole.texts, strict=True):
            end = text[5:8]
            assert len(end) == 3, "answers of ten characters or more are needed"
            cut = case.runtime.generate([prompt], 64, Options(stop=(end, "never said")))
            assert cut.texts[0] == text[: text.index(end)]
            assert cut.output_tokens < case.runtime.generate([prompt], 64).output_tokens

    def test_what_is_streamed_is_the_answer(self, case: RuntimeCase) -> None:
        """In pieces, and nothing of a stop string."""
        case.needs("stream")
        prompts, end = case.prompts(), case.memorised[0][1][5:8]
        stops = [(), (end,)] if case.runtime.capabilities.stop else [()]
        for stop in stops:
            streamed: list[list[str]] = [[] for _ in prompts]
            options = Options(stop=stop, stream=lambda n, piece, streamed=streamed: streamed[n].append(piece))  # type: ignore[misc]
            completions = case.runtime.generate(prompts, 64, options)
            assert ["".join(pieces) for pieces in streamed] == completions.texts
            assert max(map(len, streamed)) > 1, "all in one piece is not streamed"
            assert completions.texts == case.runtime.generate(prompts, 64, Options(stop=stop)).texts

    def test_the_same_seed_draws_the_same(self, case: RuntimeCase) -> None:
        """Other seeds draw others, of what was not learnt by heart."""
        case.needs("sampling")
        unknown = [case.runtime.render([{"role": "user", "content": text}]) for text in case.texts]
        prompts = [*case.prompts(), *unknown]

        def drawn(**how: Any) -> list[str]:
            return case.runtime.generate(prompts, 12, Options(sampling=Sampling(**how))).texts

        greedy = case.runtime.generate(prompts, 12).texts
        assert drawn(temperature=0.0, seed=3) == greedy
        assert drawn(temperature=1.0, top_p=1e-6, seed=3) == greedy, "top_p leaves more than the likeliest token"
        hot = [drawn(temperature=5.0, seed=seed) for seed in (3, 3, 4, 5, 6)]
        assert hot[0] == hot[1]
        assert len(set(map(tuple, hot))) > 1 and any(texts != greedy for texts in hot)

    def test_so_many_tokens_are_written_as_are_asked(self, case: RuntimeCase) -> None:
        """Through the end of the turn; greedily."""
        case.needs("writes_exactly", "sees_tokens")
        ids = [case.runtime.tokenize(prompt) for prompt in case.prompts()]
        whole = case.runtime.generate(case.prompts(), 64)
        for tokens in (1, 40):
            written = case.runtime.write_exactly(ids, tokens)
            assert (written.prompt_tokens, written.output_tokens) == (sum(map(len, ids)), tokens * len(ids))
            assert len(written.texts) == len(ids)
        assert all(text.startswith(answer) for text, answer in zip(written.texts, whole.texts, strict=True))

    def test_neither_order_nor_history_matters(self, case: RuntimeCase) -> None:
        prompts, runtime = case.prompts(), case.runtime
        calls: list[Callable[[list[str]], list[Any]]] = [lambda p: runtime.answer(p, case.answers).texts]
        if runtime.capabilities.generates:
            calls.append(lambda p: runtime.generate(p, 8).texts)
        for call in calls:
            first = call(prompts)
            assert call(prompts) == first
            assert call(prompts[::-1]) == first[::-1]
            assert [call([p])[0] for p in prompts] == first
        assert runtime.answer([], case.answers).texts == []

    def test_tokens_are_told_of_each(self, case: RuntimeCase) -> None:
        """They are those of the prompt alone, and add up."""
        if not case.runtime.capabilities.counts_each:
            pytest.skip(f"{case.runtime.name} does not tell the tokens of each prompt")
        prompts, runtime = case.prompts(), case.runtime
        calls: list[Callable[[list[str]], Answers]] = [lambda p: runtime.answer(p, case.answers)]
        if runtime.capabilities.generates:
            calls.append(lambda p: runtime.generate(p, 8))
        for call in calls:
            made, alone = call(prompts), [call([p]) for p in prompts]
            each = made.each or ()
            assert [(t.read, t.written) for t in each] == [(a.prompt_tokens, a.output_tokens) for a in alone]
            assert sum(t.read for t in each) == made.prompt_tokens
            assert sum(t.written for t in each) == made.output_tokens

    def test_likelihoods_are_complete(self, case: RuntimeCase) -> None:
        case.needs("scores_texts")
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
            case.needs("generates")
            assert text != "".join(t["content"] for t in turns), "nothing marks the end of the turn"

    def test_tokens_begin_the_answer_that_is_likeliest(self, case: RuntimeCase) -> None:
        """Greedy decoding begins with the likeliest token, whose probability is the greatest; among others it is the
        likeliest of these."""
        case.needs("scores_next", "sees_tokens")
        runtime = case.runtime
        for prompt, (_, answer) in zip(case.prompts(), case.memorised, strict=True):
            ids = runtime.tokenize(prompt)
            assert ids and all(isinstance(i, int) for i in ids) and runtime.tokenize(prompt) == ids
            best, log_prob = runtime.score_next(ids, None, ids[0])
            certain = runtime.score_next(ids, None, best).log_prob
            assert -math.inf < log_prob <= certain <= 1e-6
            others = [i for i in dict.fromkeys(ids) if i != best][:3]
            assert runtime.score_next(ids, [*others, best], best).likeliest == best
            assert runtime.score_next(ids, others, best).likeliest in others
            assert math.isclose(runtime.score_next(ids, others, best).log_prob, certain, abs_tol=1e-3)
            assert answer.startswith(runtime.generate([prompt], 1).texts[0].strip())

    def test_closing_twice_is_fine(self, case: RuntimeCase) -> None:
        if case.opened is None:
            pytest.skip("the case does not say how to open it anew")
        runtime = case.opened()
        runtime.close()
        runtime.close()

    def test_runtimes_agree(self, case: RuntimeCase) -> None:
        """As far as both can."""
        ours, theirs = case.runtime, case.reference
        if theirs is None:
            pytest.skip("the case has no other runtime with the same weights")

        def both(capability: str) -> bool:
            return getattr(ours.capabilities, capability) and getattr(theirs.capabilities, capability)

        if not any(map(both, ("generates", "closed_set", "scores_texts", "sees_tokens"))):
            pytest.skip("there is nothing that both can do")
        prompts, others = case.prompts(), case.prompts(theirs)
        if both("generates"):
            completions, also = ours.generate(prompts, 32), theirs.generate(others, 32)
            assert [t.strip() for t in completions.texts] == [t.strip() for t in also.texts]
            assert (completions.prompt_tokens, completions.output_tokens) == (also.prompt_tokens, also.output_tokens)
        if both("closed_set"):
            assert ours.answer(prompts, case.answers).texts == theirs.answer(others, case.answers).texts
        if both("scores_texts"):
            for a, b in zip(ours.score_texts(case.texts), theirs.score_texts(case.texts), strict=True):
                assert (a.tokens, a.bytes) == (b.tokens, b.bytes)
                assert math.isclose(a.nats, b.nats, rel_tol=0.01), f"{a.nats} and {b.nats} nats"
        if both("sees_tokens"):
            assert prompts == others
            assert [ours.tokenize(p) for p in prompts] == [theirs.tokenize(p) for p in prompts]
        if both("scores_next") and both("sees_tokens"):
            for ids in map(ours.tokenize, prompts):
                one, other = ours.score_next(ids, None, ids[-1]), theirs.score_next(ids, None, ids[-1])
                assert one.likeliest == other.likeliest
                assert math.isclose(one.log_prob, other.log_prob, rel_tol=0.02, abs_tol=0.02)


def _calls(case: RuntimeCase, capability: str) -> list[Callable[[], object]]:
    """What a verb would call for a capability, before the work and in it; `answer` does what it can without."""
    runtime, prompts = case.runtime, case.prompts()[:1]

    def generate(options: Options) -> list[Callable[[], object]]:
        return [lambda: runtime.generate(prompts, 4, options)]

    calls: dict[str, list[Callable[[], object]]] = {
        "generates": generate(Options()),
        "schema": generate(Options(schema=json.dumps(SCHEMA))),
        "stop": generate(Options(stop=("x",))),
        "stream": generate(Options(stream=lambda n, piece: None)),
        "sampling": generate(Options(sampling=Sampling(temperature=1.0))),
        "sees_tokens": [lambda: runtime.tokenize("a"), lambda: runtime.context_length],
        "scores_answers": [lambda: runtime.score_answers(prompts, case.answers)],
        "scores_next": [lambda: runtime.score_next([1], None, 1)],
        "scores_texts": [lambda: runtime.score_texts(case.texts)],
        "writes_exactly": [lambda: runtime.write_exactly([[1]], 1)],
    }
    return [partial(runtime.require, capability), *calls.get(capability, [])]


def _error_of(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as e:
        return e
    return None
