"""What a search shows: the terminal's table, the page, and what stands in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from lightbulb.core.figures import Figure
from lightbulb.pipeline.ledger import Cost
from lightbulb.report.searched import front_plot, in_order, render_searched, sentences, write_page
from lightbulb.searching.cost_table import TableKey
from lightbulb.searching.goal import SearchGoal
from lightbulb.searching.record import Point, SearchRecord, check_of, mark_front
from lightbulb.searching.student import Student, even


def figure(value: float, unit: str = "J", source: str = "estimated") -> Figure:
    return Figure(value=value, low=0.9 * value, high=1.1 * value, unit=unit, source=source, method="by <hand>")


def point(layers: int, joules: float, score: float | None, **more) -> Point:
    student = Student(layers=even(layers))
    scored = None if score is None else Figure(value=score, low=score - 0.02, high=score + 0.02, unit="accuracy")
    costs = {"joules_per_answer": figure(joules), "cpu_seconds_per_answer": figure(joules / 10, "s")}
    return Point(
        name=student.name, student=student, how="fewer layers", rise=0.1, bytes=1000 * layers, predicted=costs,
        score=scored, **more,
    )  # fmt: skip


def record(**changes) -> SearchRecord:
    measured = {"joules_per_answer": figure(0.21, source="measured")}
    points = [
        point(8, 0.8, 0.95, stage="parent"),
        point(2, 0.2, 0.93, stage="file", measured=measured, chosen=True),
        point(1, 0.1, 0.4, stage="trained", why="not near <0.9> after its training"),
        point(4, 0.5, None, why="over the limit of 2,000 bytes: 4,000"),
    ]
    mark_front(points, "joules_per_answer", 1)
    spent = Cost(seconds=60, cpu_seconds=figure(50, "s"), joules=figure(500))
    key = TableKey(
        processor="p", threads=1, runtime="filament", version="1", family="llama", width=64, heads=2, head_width=16,
        work="choose, 12 tokens read and 1 written",
    )  # fmt: skip
    fields = {
        "lightbulb": "0", "command": "lightbulb search", "model": "m", "task": "t<b>", "kind": "choose",
        "metric": "accuracy", "goal": SearchGoal(keep=0.95), "needed": 0.9, "currency": "joules_per_answer",
        "reached": True, "points": points,
        "checks": [check_of("joules_per_answer", figure(0.2), figure(0.21, source="measured"))],
        "table": key, "table_files": 12, "misfit": {}, "table_seconds": 30.0, "making": spent, "notes": ["a note"],
        "versions": {}, "machine": {},
    }  # fmt: skip
    return SearchRecord(**{**fields, **changes})


def shown(found: SearchRecord) -> str:
    console = Console(width=200, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(render_searched(found, Path("runs/x")))
    return console.export_text()


def test_the_terminal_names_the_chosen_first_and_every_reason():
    found = record()
    assert [len(p.student.layers) for p in in_order(found)] == [2, 1, 8, 4]
    text = shown(found)
    assert "chosen: 2 layers" in text and "not tried" in text and "over the limit of 2,000 bytes" in text
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    assert "210 mJ" in text and "by the table" in text and "-4.8%" in text
    assert text.count("to make it: lightbulb run runs/x/recipe.toml") == text.count("lightbulb run") == 1


def test_nothing_that_holds_is_said():
    text = " ".join(sentences(record(reached=False)))
    assert "nothing holds what was asked (95%)" in text
    none = [point(8, 0.8, 0.95, stage="parent")]
    text = shown(record(points=none, checks=[], reached=False))
    assert "nothing keeps to the limits" in text and "lightbulb run" not in text


def test_the_page_needs_nothing_else_and_escapes(tmp_path):
    write_page(tmp_path, record())
    page = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert "t&lt;b&gt;" in page and "t<b>" not in page and "not near &lt;0.9&gt;" in page
    assert page.count("<pre>lightbulb run recipe.toml --out FOLDER</pre>") == page.count("lightbulb run") == 1
    assert "https://cdn" not in page.split("<body>")[1]


def test_losers_are_grey_and_what_was_not_tried_is_not_drawn():
    plot = front_plot(record())
    assert plot.count('"mode":"markers"') == 3 and plot.count('"mode":"lines"') == 1
    assert plot.count("#d97706") >= 1 and "asked" in plot


def test_a_record_comes_back_as_it_was(tmp_path):
    found = record()
    found.write(tmp_path / "search.json")
    assert SearchRecord.read(tmp_path / "search.json") == found
    assert found.chosen is not None and found.chosen.cost().value == pytest.approx(0.21)
