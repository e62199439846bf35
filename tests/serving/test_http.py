"""What OpenAI's clients send, and what they get."""

from __future__ import annotations

import json
import math
import threading
import time

import pytest
from serving_toy import ANSWERS

from lightbulb.core.figures import Figure
from lightbulb.models.abstention import Abstention
from lightbulb.serving.limits import Limits

pytest_plugins = ["serving_fixtures"]


@pytest.fixture
def writes(toy, toy_file, serve_it):
    with serve_it(toy_file, runtime="toy", limits=Limits(answer_tokens=50)) as client:
        yield client


@pytest.fixture
def chooses(toy, toy_file, serve_it, monkeypatch):
    monkeypatch.setattr(toy, "answers", ANSWERS)
    with serve_it(toy_file, runtime="toy") as client:
        yield client


def test_a_conversation_is_answered_and_says_what_it_took(writes):
    status, reply = writes.chat("one two", max_tokens=4, model="toy")
    assert status == 200 and reply["object"] == "chat.completion" and reply["model"] == "toy"
    (choice,) = reply["choices"]
    assert choice["message"] == {"role": "assistant", "content": "user: one two user: ", "refusal": None}
    assert choice["finish_reason"] == "length" and choice["index"] == 0
    usage = reply["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 4, 7)
    joules, cpu = Figure(**usage["joules"]), Figure(**usage["cpu_seconds"])
    assert joules.unit == "J" and cpu.unit == "s" and cpu.scope == "process" and joules.method
    assert joules.source != "estimated" or joules.low < joules.value < joules.high


def test_turns_keep_their_order_and_parts_are_joined(writes, toy):
    turns = [
        {"role": "developer", "content": "be brief"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": " a"}, {"type": "text", "text": "b "}]},
    ]
    status, _ = writes.post("/v1/chat/completions", messages=turns, max_tokens=1)
    assert status == 200 and toy.calls == [["system: be brief\nassistant: yes\nuser: ab"]]


def test_pieces_come_as_they_are_written(writes, toy):
    events = writes.events("/v1/chat/completions", messages=[{"role": "user", "content": "a b"}], max_tokens=3)
    assert [e["choices"][0]["delta"] for e in events] == [
        {"role": "assistant", "content": ""}, {"content": "user: "}, {"content": "a "}, {"content": "b "}, {}
    ]  # fmt: skip
    assert [e["choices"][0]["finish_reason"] for e in events] == [None] * 4 + ["length"]
    assert len({e["id"] for e in events}) == 1 and {e["object"] for e in events} == {"chat.completion.chunk"}
    assert all(e["usage"] is None for e in events), "usage was not asked for"


def test_usage_is_in_the_last_chunk_where_it_is_asked_for(writes):
    asked = {"prompt": "a b", "max_tokens": 2, "stream_options": {"include_usage": True}}
    *events, last = writes.events("/v1/completions", **asked)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 2
    assert Figure(**last["usage"]["joules"]).unit == "J"
    assert "".join(e["choices"][0]["text"] for e in events) == "a b "
    whole = writes.post("/v1/completions", prompt="a b", max_tokens=2)[1]
    assert whole["choices"][0]["text"] == "a b " and whole["object"] == events[0]["object"] == "text_completion"


def test_texts_of_one_request_are_answered_together(writes, toy):
    status, reply = writes.post("/v1/completions", prompt=["a", "b c"], max_tokens=2)
    assert status == 200 and [c["text"] for c in reply["choices"]] == ["a a ", "b c "]
    assert [c["index"] for c in reply["choices"]] == [0, 1] and toy.calls[-1] == ["a", "b c"]
    assert reply["usage"]["prompt_tokens"] == 3 and reply["usage"]["completion_tokens"] == 4
    streamed = writes.events("/v1/completions", prompt=["a", "b c"], max_tokens=2)
    for n, text in enumerate(("a a ", "b c ")):
        assert "".join(c["text"] for e in streamed for c in e["choices"] if c["index"] == n) == text


@pytest.mark.parametrize("told", [False, True])
def test_texts_are_classified(toy, toy_file, serve_it, monkeypatch, told):
    monkeypatch.setattr(toy, "answers", ANSWERS)
    monkeypatch.setattr(toy, "probabilities", told)
    with serve_it(toy_file, runtime="toy") as client:
        status, reply = client.post("/v1/classify", input=["my loan", "some cash", "what?"])
        results = [{"index": n, "answer": a, "probability": p if told else None}
                   for n, (a, p) in enumerate([("loan", 0.75), ("cash", 0.75), ("card", 0.25)])]  # fmt: skip
        assert status == 200 and reply["results"] == results
        assert reply["usage"]["completion_tokens"] == 3 and reply["usage"]["joules"]["value"] > 0
        assert client.post("/v1/classify", input="my loan")[1]["results"][0]["answer"] == "loan"


def test_none_of_the_answers_may_be_given(toy, toy_file, serve_it, monkeypatch):
    monkeypatch.setattr(toy, "answers", ANSWERS)
    monkeypatch.setattr(toy, "probabilities", True)
    monkeypatch.setattr(toy, "abstention", Abstention(0.5, "oos"))
    with serve_it(toy_file, runtime="toy") as client:
        status, reply = client.post("/v1/classify", input=["my loan", "what?"])
        assert status == 200 and reply["results"] == [
            {"index": 0, "answer": "loan", "probability": 0.75, "abstained": False, "likeliest": "loan"},
            {"index": 1, "answer": "oos", "probability": 0.25, "abstained": True, "likeliest": "card"},
        ]
        choice = client.chat("what?")[1]["choices"][0]
        assert choice["message"]["content"] == "oos" and choice["likeliest"] == "card"
        (about,) = client.get("/v1/models")[1]["data"]
        assert about["none"] == "oos" and about["threshold"] == 0.5 and "oos" not in about["answers"]


def test_a_model_that_chooses_is_asked_by_any_path(chooses):
    for stream in (False, True):
        if stream:
            turns = [{"role": "user", "content": "my loan"}]
            events = chooses.events("/v1/chat/completions", messages=turns)
            said = "".join(e["choices"][0]["delta"].get("content", "") for e in events)
        else:
            said = chooses.chat("my loan", temperature=0)[1]["choices"][0]["message"]["content"]
        assert said == "loan"
    assert chooses.post("/v1/completions", prompt="my loan")[1]["choices"][0]["finish_reason"] == "stop"
    for more in ({"stop": "x"}, {"temperature": 0.7}, {"response_format": {"type": "json_object"}}):
        status, reply = chooses.chat("my loan", **more)
        assert status == 400 and reply["error"]["param"] == next(iter(more))


def test_a_model_that_writes_does_not_classify(writes):
    status, reply = writes.post("/v1/classify", input="a")
    assert status == 400 and "/v1/chat/completions" in reply["error"]["message"]


def test_models_and_health(chooses, toy_file):
    status, reply = chooses.get("/v1/models")
    assert (
        status == 200 and [m["id"] for m in reply["data"]] == ["toy"] and reply["data"][0]["answers"] == list(ANSWERS)
    )
    assert chooses.get("/v1/models/toy")[1] == reply["data"][0]
    assert chooses.get("/v1/models/gpt-5")[0] == 404
    assert chooses.get("/health") == (200, {"status": "ok", "model": "toy", "waiting": 0})
    assert chooses.get("/docs")[0] == chooses.get("/openapi.json")[0] == 404


def test_joules_of_all_answers_are_those_of_all_windows(writes):
    """From many at once, streamed and not; and no more than the process took."""
    told: list[dict] = []

    def ask(n: int) -> None:
        for i in range(4):
            if i % 2:
                told.append(writes.chat(f"word {n} " * (1 + n), max_tokens=1 + n % 3)[1]["usage"])
            else:
                asked = {"prompt": f"word {n}", "max_tokens": 5, "stream_options": {"include_usage": True}}
                told.append(writes.events("/v1/completions", **asked)[-1]["usage"])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(told) == 32 and writes.metric("lightbulb_answers_total") == 32
    assert writes.metric("lightbulb_windows_total") < 32, "nothing was answered side by side"
    for key, name in (("joules", "lightbulb_energy_joules"), ("cpu_seconds", "lightbulb_cpu_seconds")):
        total = writes.metric(f'{name}_total{{of="answers"')
        assert sum(usage[key]["value"] for usage in told) == pytest.approx(total, rel=1e-6)
        assert total < writes.metric(f'{name}_total{{of="all"')
    lows = sum(usage["joules"]["low"] or usage["joules"]["value"] for usage in told)
    assert math.isclose(lows, writes.metric('lightbulb_energy_joules_low{of="answers"'), rel_tol=1e-6)
    assert writes.metric('lightbulb_requests_total{path="/v1/completions",status="200"}') == 16


def sent_and_left(client, left, **body) -> None:
    """A request whose client leaves as soon as `left` says."""
    text = json.dumps(body).encode()
    with client.connect() as connection:
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(text)}"
        connection.sendall(f"POST /v1/completions HTTP/1.1\r\n{head}\r\n\r\n".encode() + text)
        left(connection)


def until(true) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_client_that_leaves_while_it_is_answered_ends_the_answer(writes, toy, monkeypatch):
    monkeypatch.setattr(toy, "seconds_per_word", 0.02)
    sent_and_left(writes, lambda connection: connection.recv(100), prompt="a", max_tokens=50, stream=True)
    until(lambda: writes.metric("lightbulb_answers_total") == 1)
    assert writes.metric('lightbulb_tokens_total{kind="written"') < 50


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_the_queue_is_dropped(writes, toy, stream):
    toy.gate.clear()
    first = threading.Thread(target=writes.chat, args=("first",), kwargs={"max_tokens": 1})
    first.start()
    until(lambda: toy.calls)
    waits = lambda connection: until(lambda: writes.get("/health")[1]["waiting"] == 1)  # noqa: E731
    sent_and_left(writes, waits, prompt="gone", max_tokens=1, stream=stream)
    until(lambda: 'path="/v1/completions",status="499"' in writes.get("/metrics")[1])
    toy.gate.set()
    first.join(30)
    assert writes.chat("here", max_tokens=1)[0] == 200
    assert not any("gone" in prompt for call in toy.calls for prompt in call)
