"""Metrics against hand-worked values and the libraries they come from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightbulb.core.errors import UserError
from lightbulb.runtimes.exchange import TextScore
from lightbulb.tasks import metrics
from lightbulb.tasks.metrics import bits_per_byte, check_metric, higher_is_better, item_scores, retention, score

LABELS = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ('{"b": 1.0, "a": [1, 2]}', '{"a":[1,2],"b":1}', 1),
        ('{"a": true}', '{"a": 1}', 0),
        ('{"a": [2, 1]}', '{"a": [1, 2]}', 0),
        ('{"a": 1', '{"a": 1}', 0),
        ('{"a": 1} and', '{"a": 1}', 0),
        ('"\\u00e9"', '"é"', 1),
        ("not  json", "not json", 1),
        ("[" * 100_000, "[]", 0),
        ("[" * 900 + "]" * 900, "[]", 0),
        ('{"a": null}', "{}", 0),
    ],
)
def test_json_match(prediction, reference, expected):
    assert item_scores("json-match", [prediction], [reference]) == [expected]


def test_text_matches():
    assert item_scores("accuracy", [" yes", "Yes"], ["yes", "yes"]) == [1, 0]
    assert item_scores("exact-match", ["ls  -l\n", "ls"], ["ls -l", "ls -l"]) == [1, 0]
    assert item_scores("chrf", ["find .", "zzz"], ["find .", "find ."]) == pytest.approx([1, 0])
    # longest common subsequence "the cat": precision 2/2, recall 2/4
    assert item_scores("rouge-l", ["the cat"], ["the big black cat"]) == pytest.approx([2 * 1 * 0.5 / 1.5])


def test_accuracy_has_a_wilson_interval():
    figure = score("accuracy", ["y"] * 90 + ["n"] * 10, ["y"] * 100)
    # worked by hand: centre (p + z2/2n)/(1 + z2/n), z = 1.96
    assert (figure.value, figure.unit, figure.source) == (0.9, "share", "measured")
    assert (figure.low, figure.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    perfect = score("exact-match", ["y"] * 20, ["y"] * 20)
    assert perfect.value == perfect.high == 1 and perfect.low == pytest.approx(0.8389, abs=1e-4)


def test_macro_f1_by_hand():
    truth, said = ["a", "a", "a", "b"], ["a", "a", "nonsense", "a"]
    # a: 2 hits, said 3 times, true 3 times -> 2*2/6; b: 0. An answer that is no label counts as wrong, not as a class.
    assert score("macro-f1", said, truth).value == pytest.approx((4 / 6 + 0) / 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from((*LABELS, "other"))), min_size=4, max_size=40))
def test_vectorised_f1_equals_the_library(pairs):
    from sklearn.metrics import f1_score

    truth, said = (list(column) for column in zip(*pairs, strict=True))
    expected = f1_score(truth, said, labels=sorted(set(truth)), average="macro", zero_division=0)
    codes = metrics._codes(said, truth)
    both = [np.stack([c, c[::-1]]).astype(float) for c in codes]
    assert metrics._f1(*both, classes=len(set(truth))) == pytest.approx([expected, expected])
    figure = score("macro-f1", said, truth)
    assert figure.value == pytest.approx(expected) and figure.low <= figure.value <= figure.high


def test_bits_per_byte():
    texts = [TextScore(nats=math.log(2) * 8 * b, tokens=1, bytes=b) for b in (10, 20, 30)]
    figure = bits_per_byte(texts)
    assert figure.value == pytest.approx(8) and figure.low == pytest.approx(8) and figure.unit == "bits/byte"
    better = [TextScore(nats=t.nats / 2, tokens=1, bytes=t.bytes) for t in texts]
    kept = retention("bits-per-byte", texts, better, [])
    assert kept.value == pytest.approx(0.5) and not higher_is_better("bits-per-byte")
    assert score("bits-per-byte", better, []).value == pytest.approx(4)


def test_retention_is_paired():
    truth = ["y"] * 200
    teacher = ["y" if i % 10 else "n" for i in range(200)]  # 0.9
    student = ["y" if i % 5 else "n" for i in range(200)]  # 0.8, wrong wherever the teacher is
    figure = retention("accuracy", student, teacher, truth)
    assert figure.value == pytest.approx(8 / 9) and figure.unit == "ratio" and figure.source == "derived"
    assert 0.83 < figure.low < figure.value < figure.high < 0.94
    alone = retention("accuracy", student, [*teacher[3:], *teacher[:3]], truth)  # the same scores, other items
    assert alone.high - alone.low > 1.3 * (figure.high - figure.low)
    same = retention("macro-f1", teacher, teacher, ["y"] * 100 + ["n"] * 100)
    assert same.value == 1 and same.low == pytest.approx(1 / same.high) == pytest.approx(200 / 203.84, abs=1e-4)


def test_retention_of_nothing_is_not_measured():
    figure = retention("accuracy", ["y"], ["n"], ["y"])
    assert figure.value is None and "score is 0" in figure.method
    rare = retention("accuracy", ["y"] + ["n"] * 9, ["y"] + ["n"] * 9, ["y"] * 10)
    assert rare.value == 1 and rare.low == pytest.approx(10 / 13.84, abs=1e-3)  # ten items say little


def test_same_seed_same_interval():
    said, truth = [f"word {i}" for i in range(30)], [f"word {i % 7}" for i in range(30)]
    assert score("chrf", said, truth, seed=3) == score("chrf", said, truth, seed=3)
    assert score("chrf", said, truth, seed=3) != score("chrf", said, truth, seed=4)


def test_wrong_use():
    for predictions, references in ((["a"], ["a", "b"]), ([], [])):
        with pytest.raises(ValueError, match="predictions for"):
            score("accuracy", predictions, references)
    with pytest.raises(ValueError, match="not a mean"):
        item_scores("macro-f1", ["a"], ["a"])
    with pytest.raises(ValueError, match="same items"):
        retention("bits-per-byte", [TextScore(1, 1, 1)], [TextScore(1, 1, 1)] * 2, [])


@pytest.mark.parametrize(
    ("name", "hint"), [("acuracy", "accuracy"), ("macro_f1", "macro-f1"), ("BPB", "one of"), ("exact", "exact-match")]
)
def test_unknown_metric(name, hint):
    with pytest.raises(UserError, match="unknown metric") as e:
        check_metric(name)
    assert hint in (e.value.hint or "")


def test_own_metric(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_house_metric.py").write_text(
        "def close(p, r):\n    return 1 - abs(int(p) - int(r)) / 10\ndef wild(p, r):\n    return 7\nnumber = 3\n"
    )
    (tmp_path / "my_broken_metric.py").write_text("import nothing_of_this_name\n")
    check_metric("my_house_metric:close")
    assert item_scores("my_house_metric:close", ["3", "5"], ["5", "5"]) == pytest.approx([0.8, 1.0])
    assert score("my_house_metric:close", ["3", "5"], ["5", "5"]).value == pytest.approx(0.9)
    for name, message in (
        ("my_house_metric:far", "AttributeError"),
        ("no_such_module_here:f", "ModuleNotFoundError"),
        ("my_broken_metric:f", "nothing_of_this_name"),
        ("my_house_metric:number", "not a function"),
        (":f", "cannot import"),
        ("my_house_metric:", "cannot import"),
    ):
        with pytest.raises(UserError, match=message):
            check_metric(name)
    with pytest.raises(UserError, match="returned 7"):
        item_scores("my_house_metric:wild", ["1"], ["1"])
    with pytest.raises(UserError, match="failed with ValueError"):
        item_scores("my_house_metric:close", ["x"], ["1"])
