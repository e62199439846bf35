"""What a search decides: costs from parts, knapsack, rungs, what is chosen. No model is trained here."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lightbulb.core.errors import GoalError, RecipeError, UserError
from lightbulb.core.facts import BlockFacts
from lightbulb.core.figures import Figure
from lightbulb.models.gguf_shape import architecture_of
from lightbulb.models.rope import Rope
from lightbulb.models.spec import LayerSpec, ModelSpec
from lightbulb.passes.adapt import Adapt
from lightbulb.pipeline.recipe import START, Recipe, step
from lightbulb.searching.choosing import choose, evenly
from lightbulb.searching.cost_table import CostTable, MeasuredFile, TableKey, keep_table, parts_of, read_table
from lightbulb.searching.goal import SearchGoal, bytes_of
from lightbulb.searching.halving import Halving, rung_sizes
from lightbulb.searching.parent import check_parent_recipe
from lightbulb.searching.prior import Prior, Proposal, limits_between
from lightbulb.searching.record import Point, mark_front
from lightbulb.searching.space import Space
from lightbulb.searching.student import Cut, Student, Types, even
from lightbulb.shrinking.floor import Floor
from lightbulb.train.loop import Schedule

SCHEDULE = Schedule(epochs=1, learning_rate=1e-3)
NORMS = ("attn_norm", "ffn_norm")
LAYER = LayerSpec(heads=6, kv_heads=3, head_width=32, feed_forward=256, norms=NORMS)
KEY = TableKey(
    processor="p", threads=1, runtime="r", version="1", family="llama", width=192, heads=2, head_width=32, work="w"
)


def spec(layers: int = 4, layer: LayerSpec = LAYER, **changes) -> ModelSpec:
    common = {"vocabulary": 512, "vocabulary_out": 512, "tied": True, "context": 128, "epsilon": 1e-5, "rope": Rope()}
    return ModelSpec(**{"family": "llama", "width": 192, "layers": (layer,) * layers, **common, **changes})


def space(layers: int = 4, **changes) -> Space:
    return Space.of(spec(layers, **changes), "llamacpp")


def table(parts_of_files, cost, trials: int = 4, noise: float = 0.0) -> CostTable:
    """A table of files whose cost is known."""
    rng = np.random.default_rng(0)
    files = []
    for parts in parts_of_files:
        series = [cost(parts) * (1 + noise * rng.standard_normal()) for _ in range(trials)]
        joules = [[2 * s, 1 * s, 4 * s] for s in series]
        costs = {"cpu_seconds_per_answer": series, "joules_per_answer": joules}
        files.append(MeasuredFile(parts=parts, costs=costs))
    return CostTable(key=KEY, files=tuple(files), scope="process", seconds=1.0)


def true_cost(parts) -> float:
    each = {"fixed": 1e-3, "layers": 1e-4, "attention.q4_0": 2e-4, "feed_forward.q4_0": 1e-6, "head.q8_0": 1e-6}
    return sum(each[name] * amount for name, amount in parts.items())


def measured() -> CostTable:
    students = [Student(layers=even(n, f, g)) for n in (1, 4) for f in (1.0, 0.25) for g in (1.0, 0.34)]
    parts = [parts_of(s.spec(spec(), 32), s.types) for s in students]
    return table([*parts, {**parts[0], "head.q8_0": 4096.0}], true_cost, noise=0.01)


def test_parts_add_up_to_the_cost_of_a_file_that_was_not_measured():
    found = measured()
    student = Student(layers=(Cut(layer=0, feed_forward=0.5), Cut(layer=2, groups=0.67)))
    parts = parts_of(student.spec(spec(), 32), student.types)
    assert parts["attention.q4_0"] == 3 + 2 and parts["feed_forward.q4_0"] == 128 + 256
    costs = found.predicted(parts)
    cpu = costs["cpu_seconds_per_answer"]
    assert cpu.value == pytest.approx(true_cost(parts), rel=0.03) and cpu.low <= true_cost(parts) <= cpu.high
    assert found.point("cpu_seconds_per_answer", parts) == pytest.approx(cpu.value)
    joules = costs["joules_per_answer"]
    assert joules.value == pytest.approx(2 * cpu.value) and joules.low < 0.6 * joules.value
    assert joules.source == "estimated" and "seconds_per_answer" not in costs


def test_a_part_that_was_not_measured_is_no_free_part():
    with pytest.raises(UserError, match="attention.q8_0"):
        measured().predicted({"fixed": 1.0, "attention.q8_0": 3.0})


def test_costs_that_are_no_sum_have_wide_intervals():
    parts = [{"fixed": 1.0, "layers": float(n)} for n in (1, 2, 4, 8)]
    bent = table(parts, lambda p: p["layers"] ** 2 * 1e-3)
    figure = bent.predicted({"fixed": 1.0, "layers": 3.0})["cpu_seconds_per_answer"]
    assert figure.low <= 9e-3 <= figure.high and bent.misfit["cpu_seconds_per_answer"] > 0.3


def test_tables_of_other_devices_and_work_stand_beside_each_other(tmp_path):
    place, mine = tmp_path / "costs.json", measured()
    other = mine.model_copy(update={"key": KEY.model_copy(update={"work": "other"})})
    keep_table(place, mine)
    keep_table(place, other)
    keep_table(place, mine.model_copy(update={"seconds": 2.0}))
    assert read_table(place, KEY, ["fixed"]).seconds == 2.0
    assert read_table(place, other.key, ["fixed"]) == other
    assert read_table(place, KEY, ["feed_forward.q6_k"]) is None
    place.write_text("[]")
    with pytest.raises(UserError, match="no table of costs"):
        read_table(place, KEY, [])


def facts_of(layers: int, options: Space, seed: int = 0) -> BlockFacts:
    rng = np.random.default_rng(seed)

    def rises(scale: float) -> list[float]:
        return (scale * rng.random(layers)).tolist()

    types = {name: float(i) / 50 for i, name in enumerate((*options.layer_types, *options.head_types))}
    return BlockFacts(
        loss=1.0,
        targets=10,
        without=rises(1.0),
        feed_forward={str(s): rises(0.5 * (1 - s)) for s in options.feed_forward[1:]},
        groups={str(s): rises(0.5 * (1 - s)) for s in options.groups[1:]},
        rounded={"attention": types, "feed_forward": types, "embedding": types},
    )


def priced(student: Student, parent: ModelSpec) -> float:
    """Exactly additive: weights of each role times a price by type."""
    price = {"q8_0": 2.0, "q4_0": 1.0, "q6_k": 1.6, "q4_k": 1.1, "q3_k": 0.9}
    cut, types = student.spec(parent, 32), student.types
    attention = sum(layer.kv_heads for layer in cut.layers) * 64 * price[types.attention]
    feed_forward = sum(layer.feed_forward for layer in cut.layers) * 3 * price[types.feed_forward]
    return 100 + 10 * len(cut.layers) + attention + feed_forward + cut.vocabulary * price[types.embedding] / 8


def prior_of(layers: int, seed: int = 0) -> Prior:
    parent, options = spec(layers), space(layers)
    return Prior(options, facts_of(layers, options, seed), lambda s: priced(s, parent), parent.layers)


@pytest.mark.parametrize("seed", range(3))
def test_the_knapsack_is_as_good_as_trying_all(seed):
    """Of all choices for three layers and one mixture of types: no more loss than the best that costs a fifth less."""
    prior, parent = prior_of(3, seed), spec(3)
    types = prior.space.types[-1]
    choices = [None, *prior.options]
    every = []
    for chosen in itertools.product(choices, repeat=3):
        cuts = [Cut(layer=i, feed_forward=o[0], groups=o[1]) for i, o in enumerate(chosen) if o]
        if cuts:
            student = Student(layers=tuple(cuts), types=types)
            every.append((priced(student, parent), prior.rise(student)))
    limit = float(np.median([cost for cost, _ in every]))
    student = prior._mixed(limit, types)
    assert student is not None and priced(student, parent) <= 1.001 * limit
    assert prior.rise(student) <= min(rise for cost, rise in every if cost <= 0.8 * limit)


def test_proposals_keep_to_their_limits_and_name_their_ways():
    prior, parent = prior_of(6), spec(6)
    whole = priced(prior.space.whole(), parent)
    found = prior.proposals(limits_between(0.2 * whole, 0.6 * whole, 4))
    assert {p.how for p in found} == {"layer by layer", "fewer layers", "all layers narrower"}
    assert all(priced(p.student, parent) <= 0.6001 * whole for p in found)
    assert len({p.student for p in found}) == len(found)
    depth = [p for p in found if p.how == "fewer layers"]
    assert all(c.feed_forward == 1 and c.groups == 1 for p in depth for c in p.student.layers)


def test_a_family_whose_layers_must_be_alike_gets_no_layer_by_layer():
    gelu = LAYER.model_copy(update={"activation": "gelu_pytorch_tanh"})
    gemma = spec(family="gemma3_text", layer=gelu, query_scalar=32)
    assert architecture_of(gemma) == "gemma3" and Space.of(gemma, "llamacpp").alike and not space().alike


def test_types_are_those_that_fit_all_rows_and_run():
    assert space().layer_types == ("q8_0", "q4_0")  # 192 is no multiple of 256
    layer = LayerSpec(heads=8, kv_heads=2, head_width=32, feed_forward=512, norms=NORMS)
    wide = spec(width=256, layer=layer)
    assert Space.of(wide, "llamacpp").layer_types == ("q8_0", "q6_k", "q4_k", "q4_0", "q3_k")
    assert "q3_k" not in Space.of(wide, "filament").layer_types
    assert Space.of(wide, "filament").multiple == 256


def score(value: float, half: float = 0.0) -> Figure:
    return Figure(value=value, low=value - half, high=value + half, unit="accuracy")


def students(count: int) -> list[Student]:
    """The n-th has n + 1 layers, and costs so much."""
    return [Student(layers=even(n + 1)) for n in range(count)]


def halving(count: int, keep: float | None = 0.9, asks: bool = True) -> Halving:
    floor = Floor("accuracy", keep)
    return Halving(students(count), lambda s: float(len(s.layers)), floor, score(0.9), asks)


def run_all(search: Halving, value) -> list[Student]:
    while trials := search.ask():
        for trial in trials:
            search.tell(trial, score(value(trial)))
    return search.alive


def test_a_third_goes_on_until_the_finalists_are_left():
    assert rung_sizes(9) == [9, 3] and rung_sizes(27) == [27, 9, 3] and rung_sizes(4) == [4, 3] and rung_sizes(3) == [3]
    search = halving(27)
    asked = []

    def value(trial):
        asked.append(trial.rung)
        return 0.5 + 0.01 * len(trial.student.layers)

    finalists = run_all(search, value)
    assert [asked.count(rung) for rung in (0, 1, 2)] == [27, 9, 3] and len(finalists) == 3
    losers = [t for t in search.tried.values() if t.student not in finalists]
    assert len(losers) == 24 and all(t.why for t in losers)


def test_the_front_goes_on_from_the_cheapest_that_may_reach_to_the_best():
    """Scores rise with cost: those that are hopeless go first, and both ends of the rest go on."""
    search = halving(9)
    finalists = run_all(search, lambda trial: 0.1 * len(trial.student.layers) - 0.2)
    layers = [len(s.layers) for s in finalists]
    hopeful = [n for n in range(1, 10) if (0.1 * n - 0.2) + 0.8 * (0.9 - 0.1 * n + 0.2) >= 0.81]
    assert layers[0] == hopeful[0] and layers[-1] == 9
    assert "not near" in search.tried[students(1)[0]].why


def test_what_is_beaten_at_less_cost_says_by_whom():
    search = halving(9)
    run_all(search, lambda trial: 0.85 if len(trial.student.layers) == 2 else 0.8)
    assert search.tried[students(5)[4]].why == "2 layers, q4_0, head q8_0 scores as well or better for no more"


def test_where_only_limits_are_given_the_best_scores_go_on():
    search = halving(9, keep=None, asks=False)
    finalists = run_all(search, lambda trial: -abs(len(trial.student.layers) - 5) / 100)
    assert [len(s.layers) for s in finalists] == [4, 5, 6]


def test_asked_again_before_all_was_told_it_says_the_rest_and_order_does_not_matter():
    one, other = halving(9), halving(9)
    value = {s: 0.7 + 0.013 * len(s.layers) for s in students(9)}
    first = one.ask()
    for trial in first[:4]:
        one.tell(trial, score(value[trial.student]))
    assert one.ask() == first[4:]
    for trial in first[4:]:
        one.tell(trial, score(value[trial.student]))
    for trial in reversed(other.ask()):
        other.tell(trial, score(value[trial.student]))
    assert one.alive == other.alive


def test_stopped_it_keeps_the_best_of_what_was_scored():
    search = halving(9)
    for trial in search.ask():
        search.tell(trial, score(0.8))
    search.stop("there was no time for more training")
    assert search.ask() == [] and 1 <= len(search.alive) <= 3


def point(layers: int, value: float, cost: float, half: float = 0.01, size: int = 1000) -> Point:
    costs = {"joules_per_answer": Figure(value=cost, low=cost, high=cost, unit="J", source="estimated")}
    student = Student(layers=even(layers))
    return Point(
        name=student.name, student=student, how="", rise=0.0, bytes=size, predicted=costs, measured=costs,
        score=score(value, half), stage="file",
    )  # fmt: skip


def test_the_cheapest_that_holds_is_chosen_and_the_others_say_why():
    points = [point(1, 0.5, 1.0), point(2, 0.85, 2.0), point(3, 0.9, 3.0)]
    chosen, reached = choose(points, halving(3), SearchGoal(keep=0.9), "joules_per_answer")
    assert chosen is points[1] and reached and points[1].chosen
    assert "does not hold 0.81" in points[0].why and "holds it for less" in points[2].why


def test_a_measured_cost_over_a_limit_is_not_chosen():
    points = [point(2, 0.85, 2.0), point(3, 0.9, 3.0, size=5000)]
    goal = SearchGoal(max_bytes=2000)
    chosen, reached = choose(points, halving(3, keep=None, asks=False), goal, "joules_per_answer")
    assert chosen is points[0] and reached and "over the limit of 2,000 bytes" in points[1].why
    none, reached = choose([point(3, 0.9, 3.0)], halving(3), SearchGoal(max_joules_per_answer=1.0), "joules_per_answer")
    assert none is None and not reached


def test_where_nothing_holds_the_best_is_shown_as_not_reached():
    points = [point(1, 0.5, 1.0), point(2, 0.6, 2.0)]
    chosen, reached = choose(points, halving(3), SearchGoal(keep=0.9), "joules_per_answer")
    assert chosen is points[1] and not reached


def test_the_front_is_what_nothing_beats_for_no_more():
    points = [point(1, 0.5, 1.0), point(2, 0.4, 2.0), point(3, 0.9, 3.0), point(4, 0.9, 4.0)]
    mark_front(points, "joules_per_answer", 1)
    assert [p.front for p in points] == [True, False, True, False]


def test_first_students_are_of_each_way_and_spread_over_the_costs():
    proposals = [Proposal(Student(layers=even(n + 1)), 0.0, way) for n, way in enumerate("aaaaaabbb")]
    found = evenly(proposals, lambda s: float(2 ** len(s.layers)), 6)
    assert [p.how for p in found] == list("aaabbb")
    assert [len(p.student.layers) for p in found] == [2, 3, 5, 7, 8, 9]


def test_of_two_that_cost_nearly_the_same_the_better_is_tried():
    proposals = [Proposal(Student(layers=even(n + 1)), rise, "a") for n, rise in enumerate((0.5, 0.1, 0.3))]
    costs = {1: 1.0, 2: 1.05, 3: 2.0}
    found = evenly(proposals, lambda s: costs[len(s.layers)], 3)
    assert [len(p.student.layers) for p in found] == [2, 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": 97.0}, "between 0 and 1"),
        ({"max_joules_per_answer": -1.0}, "above 0"),
        ({"max_bytes": "many"}, "no size"),
        ({"workers": 0}, "at least 1"),
        ({"candidates": 1}, "at least 3"),
        ({"max_time": "soon"}, "not a time"),
        ({"runtime": "warp"}, "no runtime"),
    ],
)
def test_a_wrong_option_is_one_error(options, said):
    with pytest.raises((GoalError, UserError), match=said):
        SearchGoal.parse(**options)


def test_sizes_are_read():
    assert [bytes_of(t) for t in ("20000000", "20MB", "1.5 GiB", "3k")] == [20_000_000] * 2 + [1_610_612_736, 3000]


def test_only_limits_ask_for_no_score():
    assert SearchGoal.parse().keep == 0.97 and SearchGoal.parse(max_bytes="1M").keep is None
    assert not SearchGoal.parse(max_bytes="1M").asks_for_a_score


def test_names_and_labels():
    student = Student(layers=(Cut(layer=1, feed_forward=0.5), Cut(layer=3)), types=Types(feed_forward="q8_0"))
    assert student.name == "2 layers, feed-forward 50-100%, q4_0/q8_0, head q8_0"
    other = student.model_copy(update={"types": Types()})
    assert other.shape == student.shape and other.label != student.label


@pytest.mark.parametrize("label", ["trimmed", "student", "rounded-file", "verify", "test"])
def test_labels_that_the_search_needs_are_refused(label):
    recipe = Recipe(model="m", task="t", step=(step("prepared", Adapt(schedule=SCHEDULE), START),
                                               step(label, Adapt(schedule=SCHEDULE), "prepared")))  # fmt: skip
    with pytest.raises(RecipeError, match=f"its own step {label!r}"):
        check_parent_recipe(recipe)
    check_parent_recipe(recipe.model_copy(update={"steps": recipe.steps[:1]}))
