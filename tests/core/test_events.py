"""The stream of events: whole lines, whatever kills the process, and a reader that keeps up with it."""

from __future__ import annotations

import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.core import events as module
from lightbulb.core.errors import RunFailure
from lightbulb.core.events import KINDS, Decided, Event, EventFile, Message, Stream, WorkProgress, read_events
from lightbulb.core.figures import Figure


def progress(note: str = "") -> WorkProgress:
    return WorkProgress(number=0, path=("run", "adapt"), seconds=1.0, note=note)


def texts(path) -> list[str]:
    return [event.text for event in read_events(path)]


def test_what_is_written_is_what_is_read(tmp_path):
    joules = Figure(value=5.0, low=2.0, high=9.0, unit="J", source="estimated")
    told = [
        Message(text="Lämpchen \u2028 \udcff"),
        Decided(by="clock", what="test items", value=900, why="12 s are left"),
        progress("loss 0.3").model_copy(update={"joules": joules}),
    ]
    file = EventFile(tmp_path / "e.jsonl")
    for event in told:
        file(event)
    file.close()
    assert list(read_events(tmp_path / "e.jsonl")) == told
    lines = (tmp_path / "e.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["message", "decision", "progress"]
    assert all(line.isascii() for line in lines)


@given(st.integers(0, 200), st.integers(1, 3))
def test_a_torn_line_is_cut_off_and_nothing_else(tmp_path_factory, cut, whole):
    path = tmp_path_factory.mktemp("events") / "e.jsonl"
    file = EventFile(path)
    for n in range(whole):
        file(Message(text=str(n)))
    before = path.stat().st_size
    file(Message(text="x" * 300))
    file.close()
    os.truncate(path, before + cut)
    assert texts(path) == [str(n) for n in range(whole)]
    again = EventFile(path)
    again(Message(text="resumed"))
    again.close()
    assert texts(path) == [*(str(n) for n in range(whole)), "resumed"]


def test_a_file_that_is_one_torn_line_is_empty(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"{" * (2 * module.CHUNK + 5))
    assert texts(path) == []
    EventFile(path).close()
    assert path.stat().st_size == 0


def test_progress_comes_every_few_seconds_and_the_rest_at_once(tmp_path):
    now = [0.0]
    file = EventFile(tmp_path / "e.jsonl", lambda: now[0])
    for second in range(12):
        now[0] = second
        file(progress(str(second)))
        file(Message(text=str(second)))
    file.close()
    found = list(read_events(tmp_path / "e.jsonl"))
    assert [e.note for e in found if isinstance(e, WorkProgress)] == ["0", "5", "10"]
    assert sum(isinstance(e, Message) for e in found) == 12


def test_a_growing_file_is_followed_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    path = tmp_path / "e.jsonl"
    line, last = Message(text="first").as_line(), Message(text="last").as_line()
    path.write_bytes(line[:20])
    asked: list[int] = []

    def more() -> bool:
        """Between two looks of the reader: the torn line is whole, another begins and is cut off, a last one comes."""
        asked.append(len(asked))
        step = {0: line, 1: line + b'{"time": 1', 2: line + last}
        if len(asked) <= len(step):
            path.write_bytes(step[asked[-1]])
        return len(asked) <= len(step)

    assert [event.text for event in read_events(path, follow=more)] == ["first", "last"]


def test_kinds_and_fields_of_another_version_are_read(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_text(
        '{"time": 1.5, "kind": "weather", "rain": true}\n{"time": 2.5, "kind": "message", "text": "a", "of": "b"}\n'
    )
    one, two = read_events(path)
    assert type(one) is Event and (one.kind, one.time, one.rain) == ("weather", 1.5, True)
    assert isinstance(two, Message) and two.of == "b"


@pytest.mark.parametrize("line", ["no json", "[]", '{"time": 1}', '{"time": 1, "kind": "message"}'])
def test_a_line_that_is_no_event_is_named(tmp_path, line):
    path = tmp_path / "e.jsonl"
    path.write_text('{"time": 1.5, "kind": "message", "text": "a"}\n' + line + "\n")
    with pytest.raises(RunFailure) as e:
        list(read_events(path))
    assert e.value.where == f"{path}:2" and e.value.hint


def test_no_file_of_events(tmp_path):
    with pytest.raises(RunFailure, match="cannot read the events"):
        list(read_events(tmp_path / "none.jsonl"))


def test_a_full_disk_ends_no_work_and_leaves_whole_lines(tmp_path, monkeypatch):
    file, real = EventFile(tmp_path / "e.jsonl"), os.write
    file(Message(text="before"))
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))  # what still fits
    file(Message(text="half"))
    monkeypatch.setattr(os, "write", real)
    file(Message(text="after"))
    file.close()
    assert texts(tmp_path / "e.jsonl") == ["before", "after"]


def test_readers_hear_in_one_order_whoever_tells():
    one: list[str] = []
    other: list[str] = []
    stream = Stream(lambda e: one.append(e.text), lambda e: other.append(e.text))
    threads = [
        threading.Thread(target=lambda n=n: [stream.emit(Message(text=f"{n} {i}")) for i in range(200)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one == other and len(one) == 800


def test_every_kind_is_in_the_table():
    assert all(f"| {kind} |" in module.__doc__ for kind in KINDS)
