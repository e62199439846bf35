"""What waits is answered side by side; nobody harms a neighbour; the queue has an end."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, wait

import pytest
from serving_toy import ANSWERS

from lightbulb.core.errors import UserError
from lightbulb.serving.batching import Batcher, Busy, Closed
from lightbulb.serving.service import Question, Service

pytest_plugins = ["serving_fixtures"]


def user(text: str, **more) -> Question:
    return Question(({"role": "user", "content": text},), **more)


@pytest.fixture
def batcher(toy, toy_file):
    """Of a toy that writes, four side by side; at most six requests wait."""
    service = Service(toy_file, runtime="toy", slots=4)
    made = Batcher(service, 6)
    yield made
    toy.gate.set()
    made.close(30)
    service.close()


def held(batcher: Batcher, toy) -> Future:
    """The answer to a question on which the model is at work, not to end before the gate is opened."""
    toy.gate.clear()
    first = batcher.submit([user("first", max_tokens=1)])
    while not toy.calls:
        threading.Event().wait(0.001)
    return first


def texts(call: list[str]) -> list[str]:
    return [prompt.removeprefix("user: ") for prompt in call]


def test_what_waits_is_answered_side_by_side_and_who_asks_much_goes_behind(batcher, toy):
    held(batcher, toy)
    many = batcher.submit([user(f"many{n}", max_tokens=2) for n in range(6)])
    one, other = batcher.submit([user("one", max_tokens=2)]), batcher.submit([user("other", max_tokens=2)])
    alone = batcher.submit([user("alone", max_tokens=3)])
    toy.gate.set()
    wait([many, one, other, alone], 30)
    assert [texts(call) for call in toy.calls] == [
        ["first"],
        ["many0", "many1", "many2", "many3"],
        ["one", "other", "many4", "many5"],
        ["alone"],  # another length: not in one call
    ]
    assert [a.text for a in many.result()] == [f"user: many{n} " for n in range(6)]


def test_a_question_that_fails_harms_no_neighbour(batcher, toy):
    held(batcher, toy)
    futures = [batcher.submit([user(text, max_tokens=2)]) for text in ("a", "poison", "b")]
    mixed = batcher.submit([user("c", max_tokens=2), user("d " * 600, max_tokens=2)])
    toy.gate.set()
    assert futures[0].result(30).pop().text == "user: a " and futures[2].result(30).pop().text == "user: b "
    with pytest.raises(RuntimeError):
        futures[1].result(30)
    with pytest.raises(UserError, match="no room"):
        mixed.result(30)
    assert batcher.submit([user("and on", max_tokens=1)]).result(30)


def test_too_many_are_told_when_to_come_back(batcher, toy):
    held(batcher, toy)
    waiting = [batcher.submit([user("a", max_tokens=1)]) for _ in range(6)]
    with pytest.raises(Busy) as error:
        batcher.submit([user("b", max_tokens=1)])
    assert 1 <= error.value.seconds <= 60 and batcher.waiting == 6
    waiting[3].cancel()  # who has left makes room
    assert batcher.submit([user("b", max_tokens=1)]) and batcher.waiting == 6


def test_who_has_left_is_dropped(batcher, toy):
    held(batcher, toy)
    gone, here = batcher.submit([user("gone", max_tokens=1)]), batcher.submit([user("here", max_tokens=1)])
    assert gone.cancel()
    toy.gate.set()
    assert here.result(30)
    assert [texts(call) for call in toy.calls] == [["first"], ["here"]]


def test_who_leaves_while_listening_ends_the_answer(batcher, toy):
    heard: list[str] = []

    def listener(number: int, piece: str) -> None:
        heard.append(piece)
        if len(heard) == 3:
            future.cancel()

    toy.gate.clear()
    future = batcher.submit([user("a b", max_tokens=200)], listener)
    toy.gate.set()
    with pytest.raises(CancelledError):
        future.result(30)
    assert batcher.submit([user("b", max_tokens=1)]).result(30)
    assert heard == ["user: ", "a ", "b "] and batcher._service.spent.tokens.written == 4


def test_what_nobody_heard_is_counted(batcher, toy):
    """Answers to some texts of a request that was given up or failed are unheard, too; all others were heard."""
    told = [held(batcher, toy)]
    toy.gate.set()
    failed = batcher.submit([*(user("a", max_tokens=1) for _ in range(9)), user("w " * 600, max_tokens=1)])
    with pytest.raises(UserError):
        failed.result(30)
    toy.gate.clear()
    gone = batcher.submit([user("gone", max_tokens=2)])
    while toy.calls[-1] != ["user: gone"]:
        threading.Event().wait(0.001)
    before = batcher.unheard[1].value
    assert before > 0 and gone.cancel()
    toy.gate.set()
    told.append(batcher.submit([user("last", max_tokens=1)]))
    heard = sum(future.result(30)[0].joules.value for future in told)
    assert batcher.unheard[1].value > before
    assert heard + batcher.unheard[1].value == pytest.approx(batcher._service.spent.joules.value, rel=1e-9)


def test_what_is_in_flight_is_finished_and_nothing_more_taken(toy, toy_file):
    service = Service(toy_file, runtime="toy")
    batcher = Batcher(service, 6)
    held(batcher, toy)
    futures = [batcher.submit([user(text, max_tokens=1)]) for text in "abc"]
    closing = threading.Thread(target=batcher.close, args=(30,))
    closing.start()
    while batcher.alive:
        threading.Event().wait(0.001)
    with pytest.raises(Closed):
        batcher.submit([user("late", max_tokens=1)])
    toy.gate.set()
    closing.join(30)
    assert all(future.result(0) for future in futures)
    service.close()


def test_cheap_answers_are_taken_in_bulk(toy, toy_file, monkeypatch):
    """As many as take some milliseconds: a window of the meter has its own cost."""
    monkeypatch.setattr(toy, "answers", ANSWERS)
    service = Service(toy_file, runtime="toy")
    batcher = Batcher(service, 6)
    for _ in range(3):
        made = batcher.submit([user(f"{n} loan") for n in range(500)]).result(30)
        assert {a.text for a in made} == {"loan"}
    assert len(toy.calls[0]) == 1 and max(map(len, toy.calls)) > 20
    batcher.close(30)
    service.close()
