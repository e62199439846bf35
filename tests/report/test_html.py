from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import lru_cache
from html.parser import HTMLParser

import pytest
from rich.console import Console
from sample import HOSTILE, not_shrunk_result, nothing_does_result, refused_record, sample_record, sample_result

from lightbulb.core.figures import Figure
from lightbulb.report import plots, words
from lightbulb.report.card import render_card
from lightbulb.report.html import render_html
from lightbulb.report.text import print_summary
from lightbulb.shrinking.record import Result


class Page(HTMLParser):
    """The elements of a page, its visible text, and the figures it shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open = ""
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts.append(data)
        elif self._open != "style":
            self.words.append(data)


@lru_cache(maxsize=1)
def sample_page() -> str:
    return render_html(sample_result())


@pytest.fixture
def page() -> Page:
    return Page(sample_page())


def own(html: str) -> str:
    """The page without plotly's own script, which is too long to search again and again."""
    return html[: html.index("<script>")] + html[html.index("</head>") :]


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "href", "srcset"} & attributes.keys()
    assert "@import" not in own(sample_page()) and "url(" not in own(sample_page())
    assert "default-src 'none'" in sample_page()


def test_hostile_text_stays_text(page: Page) -> None:
    assert HOSTILE in page.text
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert not any('alert("x")' in script for script in page.scripts)
    assert "49" not in [word.strip() for word in page.words]


def test_hostile_names_stay_text_in_the_plot() -> None:
    record = sample_record()
    record["baselines"][0]["name"] = HOSTILE
    result = sample_result(
        task=HOSTILE,
        metric=HOSTILE,
        findings=[HOSTILE],
        use=[HOSTILE],
        baselines=record["baselines"],
        machine={HOSTILE: HOSTILE},
        verify={HOSTILE: Figure(value=1, unit=HOSTILE)},
    )
    page = Page(render_html(result))
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in page.elements)
    assert not any(script.strip().startswith("alert") for script in page.scripts)
    fragment = plots.score_against(result, "cpu_seconds_per_answer")
    assert "<img" not in fragment and "&lt;img" in fragment.replace("\\u0026", "&")


def test_the_verdict_comes_first(page: Page) -> None:
    order = [
        "Kept",
        "The student keeps 98.7% [97.9, 99.6]",
        "What was kept, against what it costs",
        "All models",
        "What the making cost",
        "Pay-back",
        "Candidates tried",
        "The recipe",
        "Does the exported file agree",
        "Where teacher and student differ",
        "What loading the data noticed",
        "Where these figures come from",
    ]
    body = page.text[page.text.index("lightbulb report") :]
    places = [body.index(part) for part in order]
    assert places == sorted(places)


def test_every_figure_has_value_interval_and_source() -> None:
    shown = re.findall(
        r'<span class="figure" title="([^"]*)"><b>([^<]+)</b>(.*?)</span></span>|<span class="figure"'
        r' title="([^"]*)"><b>([^<]+)</b>(.*?)<span class="tag',
        own(sample_page()),
    )
    assert len(shown) > 30
    rows = re.findall(r'<tr class="(?:teacher|stock|student)">.*?</tr>', own(sample_page()), re.DOTALL)
    assert len(rows) >= 4
    for row in rows[:4]:
        for label in ("accuracy", "CPU time / answer", "energy / answer", "tokens/s"):
            cell = row[row.index(f'data-label="{label}"') :].split("</td>")[0]
            assert re.search(r"<b>[\d.,]+", cell) and re.search(r"\[[\d.,]+, [\d.,]+\]", cell), cell
            assert re.search(r'class="tag (measured|derived|estimated)"', cell), cell


def test_facts_are_on_the_page(page: Page) -> None:
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    for fact in (
        "3.10 ms",
        "34.2 ms",
        "13.1 MB",
        "271 MB",
        "2.75 g CO2e",
        "174,000 answers",
        "90.0 min",
        "card_arrival",
        "12 duplicates removed",
        "llama.cpp b11549",
        "--keep 0.97",
        "watts per thread",
        "CPU time per right answer",
        "14.2 mJ",
        "chosen",
        "top_k 32",
        "HuggingFaceTB/SmolLM2-135M-Instruct, licence apache-2.0",
    ):
        assert fact in text, fact


def test_score_is_drawn_over_cost_and_over_bytes(page: Page) -> None:
    ids = [attributes.get("id") for tag, attributes in page.elements if tag == "div"]
    assert [i for i in ids if i and i.startswith("plot-")] == ["plot-cpu_seconds_per_answer", "plot-bytes"]
    record = sample_record()
    for model in (record["teacher"], *record["baselines"]):
        model["bytes"] = None
    one = sample_result(teacher=record["teacher"], baselines=record["baselines"])
    assert plots.quantities(one) == ["cpu_seconds_per_answer"]
    assert plots.quantities(without_costs()) == []


def test_where_nothing_was_shrunk_the_page_says_so_first() -> None:
    html = render_html(not_shrunk_result())
    body = readable(html)
    order = [
        "Not shrunk",
        "The best student scores 0.614",
        "model.gguf is the cheapest stock file that does what was asked (97%): the adapted teacher (q4_0, llama.cpp)",
        "model.gguf: adapted teacher, q4_0",
        "below the floor: student, 4 layers",
        "To use it:",
    ]
    places = [body.index(part) for part in order]
    assert places == sorted(places)
    fragment = plots.score_against(not_shrunk_result(), "cpu_seconds_per_answer")
    assert "student, below the floor" in fragment


def test_where_nothing_does_what_was_asked_the_page_offers_nothing() -> None:
    body = readable(render_html(nothing_does_result()))
    assert body.index("Not kept") < body.index("Nothing that was made does what was asked (at least 0.95 accuracy)")
    assert "To use it" not in body and "model.gguf:" not in body


@pytest.mark.parametrize("made", [not_shrunk_result, nothing_does_result, lambda: Result(**refused_record())])
def test_no_savings_are_told_of_what_is_not_handed_out(made: Callable[[], Result]) -> None:
    """On any page, and in the record."""
    result, out = made(), io.StringIO()
    print_summary(result, Console(file=out, width=120))
    for page in (readable(render_html(result)), render_card(result), out.getvalue()):
        assert not re.search(r"times (less|as much)|paid back after|before / after|It does not pay", page), page
    assert result.ratios == [] and result.break_even_answers.value is None
    assert words.saving_text(result) == words.arithmetic(result) == ""


def readable(html: str) -> str:
    text = Page(html).text
    return text[text.index("lightbulb report") :].replace("\N{NO-BREAK SPACE}", " ")


def test_parameters_read_as_words_not_as_python() -> None:
    step = {"pass": "adapt", "label": "teacher", "parameters": {"schedule": {"epochs": 3.0, "warm": True}}, "key": "ab"}
    page = Page(render_html(sample_result(recipe=[step])))
    assert "adapt teacher : schedule (epochs 3.0, warm true)" in page.text


def without_costs() -> Result:
    record = sample_record()
    for model in (record["teacher"], *record["baselines"], record["student"]):
        model.update(cpu_seconds_per_answer=None, joules_per_answer=None, tokens_per_second=None, bytes=None)
    unknown = Figure(value=None, unit="answers", source="derived")
    return sample_result(
        teacher=record["teacher"],
        baselines=record["baselines"],
        student=record["student"],
        ratios=[],
        making={},
        break_even_answers=unknown,
        ledger=[],
        candidates=[],
        examples=[],
        recipe=[],
        findings=[],
        verify={},
        use=[],
        machine={},
        versions={},
        counts=None,
        command="",
    )


def test_what_was_not_measured_is_never_zero() -> None:
    page = render_html(without_costs())
    assert len(page) < 100_000  # no plot, so no plotly
    assert page.count("not measured") > 20
    assert not re.search(r"<b>0(\.0+)?\s", page)
    assert ">None<" not in page and " None" not in page


def test_a_ledger_that_does_not_add_up_says_so(page: Page) -> None:
    assert "do not add up" not in page.text
    short = sample_record()["ledger"][1:]
    assert "do not add up" in render_html(sample_result(ledger=short))


def test_labels_drop_what_all_names_share() -> None:
    assert plots.short_names(["teacher, q8_0, llama.cpp", "teacher, q4_0, llama.cpp"]) == ["q8_0", "q4_0"]
    assert plots.short_names(["only one"]) == ["only one"]
    assert plots.short_names(["same", "same"]) == ["same", "same"]


def test_labels_of_neighbours_are_stacked() -> None:
    assert plots.levels([0.051, 0.0383, 0.0342, 0.0031]) == [2, 1, 0, None]
    assert plots.levels([1.0]) == [None]


def test_the_floor_and_the_ticks() -> None:
    assert plots.needed_score(sample_result()) == pytest.approx(0.97 * 0.9257)
    assert plots.needed_score(sample_result(higher_is_better=False, metric="bits-per-byte")) == pytest.approx(
        0.9257 / 0.97
    )
    assert plots.needed_score(sample_result(floor=0.9)) == 0.9
    assert plots.needed_score(sample_result(keep=None, at_least=0.92)) == 0.92
    assert plots.ticks(0.0018, 0.06, "s")[1] == ["2 ms", "5 ms", "10 ms", "20 ms", "50 ms"]
    assert plots.ticks(0.0016, 0.135, "s")[1] == ["3 ms", "10 ms", "30 ms", "100 ms"]
    assert plots.ticks(0.0001, 0.9, "s")[1] == ["100 µs", "1 ms", "10 ms", "100 ms"]
