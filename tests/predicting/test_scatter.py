"""Intervals by kind: drawn errors whose scatter is known, and what sort of measurement a setting is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightbulb.predicting.devices import find_device
from lightbulb.predicting.scatter import LEAST_SCATTER, LeftOut, Z, kind_of, pooled, scatter_of
from lightbulb.predicting.setting import Setting

TRUE = {"narrow": 0.15, "usual": 0.3, "wide": 0.6}


def draw(sources: int, seed: int, scatters: dict[str, float] = TRUE) -> list[LeftOut]:
    """One row of each source for each kind, left out with its source and with its kind."""
    rng = np.random.default_rng(seed)
    errors = {(k, n): rng.normal(0, s) for k, s in scatters.items() for n in range(sources)}
    return [LeftOut(k, f"{k}{n}", e, 0.0, way) for way in (False, True) for (k, n), e in errors.items()]


def test_of_one_kind_it_is_what_the_errors_are():
    errors = draw(400, 0, {"one": 0.4})
    sizes = np.abs([e.error for e in errors])
    assert pooled(errors).of("one") == pytest.approx(np.std([e.error for e in errors]), rel=0.03)
    assert Z * scatter_of(errors).of("one") == pytest.approx(np.quantile(sizes, 0.9), rel=0.03)


@pytest.mark.parametrize("sources", [4, 12])
def test_nine_tenths_of_rows_to_come_lie_inside(sources):
    """...where kinds differ by a factor of four and have few sources each; and an interval is as wide as its kind."""
    inside, widths = [], []
    for seed in range(12):
        found = scatter_of(draw(sources, seed))
        new = [e for e in draw(60, 1000 + seed) if not e.by_kind]
        inside += [abs(e.error) <= Z * found.of(e.kind) for e in new]
        widths.append([found.of(kind) for kind in TRUE])
    assert 0.86 <= np.mean(inside) <= 0.96
    narrow, usual, wide = np.median(widths, axis=0)
    assert 1.2 * narrow < usual < wide / 1.2


def test_a_kind_that_nobody_measured_is_as_unsure_as_kinds_differ():
    alike = pooled(draw(12, 0, dict.fromkeys(TRUE, 0.3)))
    apart = pooled(draw(12, 0))
    assert alike.of("none") == alike.other < apart.of("none")
    assert apart.of("none") > math.sqrt(np.mean([s**2 for s in TRUE.values()]))
    told = scatter_of(draw(12, 0))
    assert told.other > min(told.kinds.values())


def test_few_rows_of_a_kind_are_pulled_towards_the_others():
    others = draw(12, 0, {"one": 0.3, "two": 0.3, "three": 0.3})
    one, three = ([LeftOut("new", f"n{n}", 0.9, 0.0) for n in range(count)] for count in (1, 3))
    told = [pooled([*others, *rows]).of("new") for rows in ([], one, three)]
    assert told[0] < told[1] < told[2] < 0.9


def test_many_rows_of_one_source_are_no_more_than_three():
    told = [
        pooled([*draw(12, 0), *(LeftOut("usual", "loud", 1.5, 0.0) for _ in range(count))]).of("usual")
        for count in (0, 3, 300)
    ]
    assert told[0] < told[1] == pytest.approx(told[2])
    whole = [scatter_of([*draw(12, 0), *(LeftOut("usual", "loud", 1.5, 0.0) for _ in range(n))]) for n in (0, 300)]
    assert whole[1].of("narrow") < 1.5 * whole[0].of("narrow")


def test_what_the_coefficients_explain_is_not_counted_twice():
    rng = np.random.default_rng(0)
    errors = [LeftOut("one", str(n), rng.normal(0, math.hypot(0.3, 0.4)), 0.4) for n in range(400)]
    assert pooled(errors).of("one") == pytest.approx(0.3, rel=0.1)
    width = Z * math.hypot(scatter_of(errors).of("one"), 0.4)
    assert np.mean([abs(e.error) <= width for e in errors]) == pytest.approx(0.9, abs=0.01)
    sure = [LeftOut("one", str(n), 0.01, 0.0) for n in range(30)]
    assert scatter_of(sure).of("one") == LEAST_SCATTER


@pytest.mark.parametrize(
    ("device", "setting", "scope", "kind"),
    [
        ("h100", Setting(batch=8, devices=4, runtime="vllm"), "board", "several devices"),
        ("h100", Setting(batch=8, runtime="eager"), "board", "batches"),
        ("rtx 4090", Setting(), "chip", "desktops"),
        ("a100", Setting(runtime="eager"), "board", "eager, one at a time"),
        ("m2", Setting(), "chip", "chips"),
        ("m2", Setting(batch=4), "wall", "Apple machines"),
        ("i7-13700h", Setting(), "chip", "CPUs"),
        ("raspberry pi 5", Setting(), "wall", "boards"),
        ("orin nano", Setting(batch=4), "board", "jetson"),
        ("snapdragon 8 elite", Setting(), "machine", "phone"),
    ],
)
def test_what_sort_of_measurement_it_is(device, setting, scope, kind):
    assert kind_of(find_device(device), setting, scope) == kind
