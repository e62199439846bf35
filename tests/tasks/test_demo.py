"""The built-in task: deterministic, varied, unambiguous, and compositional."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys

import pytest

from lightbulb.core.errors import TaskError
from lightbulb.tasks import home_grammar as grammar
from lightbulb.tasks.demo import composition, home_task, number_words, parts_of, spoken_calls
from lightbulb.tasks.load import load_task

TASK = home_task()


def calls(examples):
    return [json.loads(e.completion) for e in examples]


def test_sizes_and_form():
    assert (TASK.kind, TASK.metric) == ("generate", "json-match")
    assert (len(TASK.train), len(TASK.validation), len(TASK.test)) == (2000, 120, 200)
    for e in (*TASK.train, *TASK.validation, *TASK.test):
        assert re.fullmatch(r"[a-z0-9 ]+", e.prompt) and "  " not in e.prompt  # as a speech recogniser writes
        assert len(e.completion) < 90 and json.dumps(json.loads(e.completion), separators=(",", ":")) == e.completion


def test_deterministic_in_another_process():
    again = subprocess.run(
        [
            sys.executable,
            "-c",
            "from lightbulb.tasks.demo import home_task as h;print(h(0).fingerprint, h(1).fingerprint)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    first, other = again.stdout.split()
    assert first == TASK.fingerprint != other


@pytest.mark.parametrize("seed", range(3))
def test_test_holds_new_compositions_of_known_parts(seed):
    task = home_task(seed)
    train = calls(task.train)
    shown, parts = {composition(c) for c in train}, set().union(*map(parts_of, train))
    held = [{composition(c) for c in calls(s)} for s in (task.validation, task.test)]
    assert not shown & held[0] and not shown & held[1] and not held[0] & held[1]
    assert all(parts_of(c) <= parts for c in calls((*task.validation, *task.test)))
    assert len(held[1]) > 100 and {c["do"] for c in calls(task.test)} == {c["do"] for c in train}
    everything = [e.key() for e in (*task.train, *task.validation, *task.test)]
    assert len(set(everything)) == len(everything)


def test_tens_of_thousands_of_utterances_each_with_one_meaning():
    meanings: dict[str, set[str]] = {}
    for said, call in itertools.islice(spoken_calls(7), 20_000):
        meanings.setdefault(said, set()).add(json.dumps(call))
    assert len(meanings) > 19_000
    assert not [said for said, meant in meanings.items() if len(meant) > 1]


def test_the_answer_can_be_heard():
    """The room that is meant is said, and where someone changes their mind it is the one said last."""
    spoken_room = {said: room for room, ways in grammar.ROOMS.items() for said in ways}
    longest_first = "|".join(sorted(spoken_room, key=len, reverse=True))
    corrected = 0
    for said, call in itertools.islice(spoken_calls(3), 3000):
        if "room" in call:
            heard = [spoken_room[m] for m in re.findall(rf"\b({longest_first})\b", clean(said))]
            assert heard and heard[-1] == call["room"], (said, call)
            corrected += len(set(heard)) > 1
    assert corrected > 50


def clean(said: str) -> str:
    """Without the words that may stand inside a name (hesitations), so that "babys um room" is heard."""
    return " ".join(re.sub(rf"\b({'|'.join(grammar.HESITATIONS)})\b", " ", said).split())


def test_every_word_of_the_grammar_is_used():
    drawn = [call for _, call in itertools.islice(spoken_calls(5), 20_000)]
    assert {c["room"] for c in drawn if "room" in c} == set(grammar.ROOMS)
    assert {c["device"] for c in drawn if "device" in c} == set(grammar.DEVICES)
    for slot, values in grammar.VALUES.items():
        assert {c[slot] for c in drawn if slot in c} == set(values)
    for slot, numbers in grammar.NUMBERS.items():
        assert {c[slot] for c in drawn if slot in c} == set(numbers)


def test_words():
    assert [number_words(n) for n in (0, 13, 20, 45, 100)] == [
        "zero",
        "thirteen",
        "twenty",
        "forty five",
        "one hundred",
    ]


def test_by_name():
    assert load_task("home").fingerprint == TASK.fingerprint
    assert load_task("home", metric="chrf").fingerprint != TASK.fingerprint
    with pytest.raises(TaskError, match="own splits"):
        load_task("home", prompt="x")
    with pytest.raises(ValueError, match="at least 100"):
        home_task(train=10)
    assert len(home_task(train=100, validation=10, test=10).test) == 10
