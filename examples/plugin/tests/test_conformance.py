"""The plugin through lightbulb's published suites. `imported`, `by_heart` and `tiny_task` are of lightbulb's own tests
(tests/conftest.py); yours may be any model artifact, any model that has learnt something by heart, and any task."""

from __future__ import annotations

import pytest
from conftest import tiny_task
from lightbulb_example.clip_weights import ClipWeights
from lightbulb_example.household import METER, find
from lightbulb_example.q8_p2 import TYPE
from trees import Hand

from lightbulb.formats.gguf.quant_types import quant_type_of
from lightbulb.models.loading import load_model
from lightbulb.passes import pass_class
from lightbulb.tasks import metrics
from lightbulb.testing import (
    PassCase,
    PassConformance,
    QuantTypeCase,
    QuantTypeConformance,
    RuntimeConformance,
    SensorCase,
    SensorConformance,
)


class TestClipWeights(PassConformance):
    @pytest.fixture
    def case(self, imported):
        return PassCase(ClipWeights(deviations=2), imported, tiny_task("generate"), changed=ClipWeights(deviations=3))

    def test_none_is_larger(self, case, tmp_path):
        from lightbulb.testing.passes import make

        made = make(case, tmp_path / "run")
        before, after = (
            [p.detach() for p in load_model(a.path).parameters() if p.ndim == 2] for a in (case.source, made)
        )
        limits = [2 * p.square().mean().sqrt() for p in before]
        assert all(p.abs().max() == limit for p, limit in zip(after, limits, strict=True))
        larger = [int((p.abs() > limit).sum()) for p, limit in zip(before, limits, strict=True)]
        assert made.facts["clipped"] == sum(larger) > 0


class TestCounting(RuntimeConformance):
    @pytest.fixture
    def case(self, by_heart):
        return by_heart.case("counting", "llamacpp")

    def test_it_counts(self, case):
        before = case.runtime.prompts
        case.runtime.generate(case.prompts(), 1)
        assert case.runtime.prompts == before + len(case.prompts())


class TestHousehold(SensorConformance):
    @pytest.fixture
    def case(self, tmp_path, monkeypatch):
        meter, clock, spent = tmp_path / "meter", Hand(), [1000.0]

        def spend(seconds: float, watts: float) -> None:
            spent[0] += seconds * watts
            meter.write_text(f"{spent[0] / 3600:.9f}\n")
            clock.now += seconds

        spend(0.0, 0.0)
        monkeypatch.setenv(METER, str(meter))
        (sensor,) = find().sensors
        return SensorCase(sensor, clock, spend, meter.unlink, lambda: meter.write_text("0\n"))


class TestQ8P2(QuantTypeConformance):
    @pytest.fixture
    def case(self):
        assert quant_type_of(TYPE.id) is TYPE, "found by its number, as when a file holds it"
        return QuantTypeCase(TYPE, error=0.02, worst=0.02)


def test_without_a_meter_there_is_no_sensor(tmp_path, monkeypatch):
    monkeypatch.delenv(METER, raising=False)
    assert find().sensors == find().diagnostics == ()
    monkeypatch.setenv(METER, str(tmp_path / "absent"))
    assert find().sensors == () and "cannot be read" in find().diagnostics[0]


def test_the_metric_and_the_pass_are_known_by_name():
    metrics.check_metric("first-word")
    found = metrics.score("first-word", ["Yes, it is", "no", ""], ["yes", "yes: always", "no"])
    assert found.value == pytest.approx(1 / 3)
    assert pass_class("clip-weights") is ClipWeights
