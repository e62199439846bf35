"""The JavaScript that is exported: the same numbers as docs/format.md asks for, in node and in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Page
from samples_of_ngrams import HOSTILE, KINDS, answer, probabilities, random_file, scores

from lightbulb.exporting.checking import write
from lightbulb.exporting.js import MODULE, PAGE, js_files, literal
from lightbulb.models.kinds.ngrams import NgramFile

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node was not found")
ANSWERS = ["card", "Lämpchen", "lost?", "</script><script>alert(1)</script>", "<!--"]
TEXTS = [*HOSTILE, "\ud800 half \udfff", "\udc00\ud800"]
ALL = "texts.map((text) => ({...classify(text), root: score(text).root, scores: score(text).scores.map(String)}))"


@pytest.fixture(params=KINDS)
def model(request) -> NgramFile:
    return random_file(HOSTILE, ANSWERS, **KINDS[request.param])


def exported(model: NgramFile, folder: Path, cost: str | None = None) -> Path:
    write(js_files(model, 'a "title" & <b>', "0" * 64, cost), folder)
    return folder


def check(found: list[dict], model: NgramFile) -> None:
    for text, one in zip(TEXTS, found, strict=True):
        data = text.encode("utf-8", "surrogatepass")
        assert ([int(score) for score in one["scores"]], one["root"]) == scores(model, data), text[:50]
        number = answer(model, data)
        assert (one["number"], one["answer"]) == (number, model.none if number < 0 else ANSWERS[number])
        assert one["probabilities"] == probabilities(model, data).tolist()
        assert one["probability"] == one["probabilities"][one["likeliest"]] == max(one["probabilities"])


def in_node(folder: Path, texts: list[str] = TEXTS) -> list[dict]:
    (folder / MODULE).rename(folder / "model.mjs")
    script = f'import {{ classify, score }} from "./model.mjs"; const texts = {json.dumps(texts)};'
    (folder / "run.mjs").write_text(f"{script}\nconsole.log(JSON.stringify({ALL}));")
    done = subprocess.run([NODE, "run.mjs"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_the_numbers_are_those_of_the_format(model, tmp_path):
    check(in_node(exported(model, tmp_path)), model)


@needs_node
def test_scores_beyond_what_a_number_holds_are_exact(tmp_path):
    """They are added up as BigInt: as numbers of 53 bits they would differ in their last digits."""
    model = random_file(HOSTILE, ANSWERS, width=4000)
    rows = len(model.hashes)
    model = replace(
        model,
        scales=np.full(rows, 32767, np.int16),
        weights=np.full((rows, 4000), 127, np.int8),
        counts=np.full(16, 256, np.int16),
        head=np.repeat(np.array([[2047], [-2047], [2046], [2047], [1]], np.int16), 4000, axis=1),
        bias=np.array([2**31 - 1, -(2**31), 1, -3, 2**30], np.int32),
    )
    folder, texts = exported(model, tmp_path), [" ".join(text for text in HOSTILE if len(text) < 100)]
    assert '"big": true' in (folder / MODULE).read_text(encoding="utf-8")
    found = in_node(folder, texts)
    assert [[int(score) for score in one["scores"]] for one in found] == model.scores(texts)[0].tolist()
    assert any(int(score) != int(float(score)) for one in found for score in one["scores"])


def test_the_page_answers_in_a_browser(tmp_path):
    model = random_file(HOSTILE, ANSWERS, width=6)
    folder = exported(model, tmp_path, "In filament an answer takes 12 µs.")
    with Page((folder / PAGE).as_uri(), tmp_path / "profile") as page:
        page.value(f"globalThis.texts = {json.dumps(TEXTS)}; var {{score, classify}} = model; 0")
        check(page.value(ALL), model)
        assert page.value("document.querySelector('h1').textContent") == 'a "title" & <b>'
        assert "12 µs" in page.value("document.querySelector('footer').textContent")
        for text in ("card", "emoji 😀😀😀", ""):
            page.value(f"var box = document.getElementById('text'); box.value = {json.dumps(text)}; 0")
            page.value("box.dispatchEvent(new Event('input'))")
            shown = page.value("document.getElementById('answer').textContent")
            assert shown == (ANSWERS[answer(model, text.encode())] if text else "")
            likely = page.value("[...document.querySelectorAll('#likely li')].map((line) => line.textContent)")
            best = np.sort(probabilities(model, text.encode()))[::-1][: 5 if text else 0]
            assert [float(re.search(r"([\d.]+)%$", line)[1]) for line in likely] == pytest.approx(100 * best, abs=0.051)
        asked = [event for event in page.events if event["method"] == "Network.requestWillBeSent"]
        assert {event["params"]["request"]["url"].split(":")[0] for event in asked} == {"file"} and len(asked) == 1
        assert not [event for event in page.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]


def test_what_the_page_forbids_is_forbidden(tmp_path):
    folder = exported(random_file(HOSTILE, ANSWERS), tmp_path)
    with Page((folder / PAGE).as_uri(), tmp_path / "profile") as page:
        tried = "new Promise((done) => { const s = document.createElement('script'); s.textContent = 'window.evil = 1';"
        page.value(f"{tried} document.body.append(s); setTimeout(done, 100); }})")
        assert page.value("typeof window.evil") == "undefined"
        assert page.value("fetch('https://example.org/').then(() => 'sent', (error) => error.name)") == "TypeError"


def test_a_page_of_one_file_with_nothing_from_elsewhere(tmp_path):
    page = (exported(random_file(HOSTILE, ANSWERS), tmp_path) / PAGE).read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 1 and "<!--" not in page
    assert not re.search(r"https?://|\bsrc=|\bhref=|\bimport\b", page)


def test_literals_cannot_leave_a_script():
    text = literal(["</script>", "<!--", "\u2028é"])
    assert "<" not in text and text.isascii() and json.loads(text) == ["</script>", "<!--", "\u2028é"]
