"""Every runtime through the published suite of lightbulb.testing, and that the suite finds those that say wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightbulb.core.errors import UserError
from lightbulb.runtimes import open_gguf
from lightbulb.runtimes.base import Capabilities, Runtime
from lightbulb.runtimes.exchange import PLAIN
from lightbulb.testing import RuntimeConformance


class TestRuntimes(RuntimeConformance):
    @pytest.fixture(params=["torch", "llamacpp", "filament", "endpoint"])
    def case(self, request, by_heart):
        if request.param == "filament":
            pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
        other = {"torch": "llamacpp", "llamacpp": "torch", "filament": "llamacpp", "endpoint": "llamacpp"}
        return by_heart.case(request.param, other[request.param])


class Bare(Runtime):
    """A runtime that can do nothing but write."""

    name, title, opens, capabilities = "bare", "bare", "gguf", Capabilities()

    def __init__(self, inner: Runtime):
        self.info, self.inner = inner.info, inner

    @classmethod
    def open(cls, model, *, threads=2, slots=1, context=1024):
        return cls(open_gguf(model, threads=threads, slots=slots, context=context))

    def render(self, messages):
        return self.inner.render(messages)

    def generate(self, prompts, max_tokens, options=PLAIN):
        self.require(*options.needs)
        return self.inner.generate(prompts, max_tokens)

    def close(self):
        self.inner.close()


class TestBare(RuntimeConformance):
    @pytest.fixture
    def case(self, by_heart):
        return replace(by_heart.case("llamacpp", "torch"), runtime=Bare(by_heart.runtime("llamacpp")))


def test_the_suite_finds_a_runtime_that_says_too_much(by_heart):
    class Boasting(Bare):
        capabilities = Capabilities(stop=True, sampling=True, scores_texts=True)

    case, suite = replace(by_heart.case("llamacpp"), runtime=Boasting(by_heart.runtime("llamacpp"))), TestBare()
    for check in (
        suite.test_an_answer_ends_before_a_stop_string,
        suite.test_the_same_seed_draws_the_same,
        suite.test_likelihoods_are_complete,
    ):
        with pytest.raises((AssertionError, UserError)):
            check(case)


def test_the_suite_finds_a_runtime_that_says_too_little(by_heart):
    """What it takes without saying so is not refused."""

    class Shy(Bare):
        def generate(self, prompts, max_tokens, options=PLAIN):
            return self.inner.generate(prompts, max_tokens, options)

    case = replace(by_heart.case("llamacpp"), runtime=Shy(by_heart.runtime("llamacpp")))
    with pytest.raises(AssertionError, match="without schema: None"):
        TestBare().test_what_it_cannot_do_is_refused_clearly(case)
