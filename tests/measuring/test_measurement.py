"""`lightbulb measure` from end to end, on tiny models and in short windows."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import socket
import threading
import urllib.request

import pytest
from conftest import tiny_task
from endpoint_server import good, serve

from lightbulb.cli.measuring import measure as verb
from lightbulb.core.errors import GoalError, ModelError, UserError
from lightbulb.core.figures import Figure
from lightbulb.measuring import measurement, protocol
from lightbulb.measuring.record import Measured
from lightbulb.models.gguf import write_gguf
from lightbulb.report.measured import reached

QUICK = {"trials": 4, "context": 24, "output_tokens": 8}
LONGER = {**QUICK, "output_tokens": 32}  # where a written token must stand out of the noise of a busy machine


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    monkeypatch.setattr(protocol, "WINDOW_SECONDS", 0.05)


@pytest.fixture
def longer_windows(short_windows, monkeypatch):
    monkeypatch.setattr(protocol, "WINDOW_SECONDS", 0.25)


@pytest.fixture(scope="module")
def ggufs(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ggufs")
    for quantization in ("q8_0", "f32"):
        write_gguf(tiny_folder, folder / f"{quantization}.gguf", quantization)
    return folder


def figures_of(measured: Measured) -> dict[str, Figure]:
    return {name: value for name, value in measured if isinstance(value, Figure)}


def test_a_gguf_against_another(ggufs, longer_windows):
    found = measurement.measure(str(ggufs / "q8_0.gguf"), against=str(ggufs / "f32.gguf"), **LONGER)
    other = found.against
    assert (found.runtime, found.trials, found.context, found.task) == ("llamacpp", 4, 24, None)
    assert found.model_bytes < other.model_bytes and other.against is None
    for m in (found, other):
        figures = figures_of(m)
        assert all(f.value is not None and f.low <= f.value <= f.high for n, f in figures.items() if n != "peak_bytes")
        read = m.seconds_per_prompt_token
        assert 1 / read.high <= m.tokens_per_second_prefill.value <= 1 / read.low
        assert m.seconds_to_first_token.value == pytest.approx(24 * read.value)
        assert 12 < m.cpu_seconds_per_answer.value / m.cpu_seconds_per_prompt_token.value < 500
        assert m.net_joules_per_answer.value < m.joules_per_answer.value
        if m.peak_bytes.value is not None:
            assert m.peak_bytes.value > m.model_bytes / 2
    ratio = found.ratios["cpu_seconds_per_answer"]
    quotient = found.cpu_seconds_per_answer.value / other.cpu_seconds_per_answer.value
    assert ratio.low <= ratio.value <= ratio.high and ratio.value == pytest.approx(quotient, rel=0.5)
    inside = {n for n, r in found.ratios.items() if r.value is None or r.low <= 1 <= r.high}
    assert set(found.within_noise) == inside
    assert Measured(**json.loads(json.dumps(found.model_dump(mode="json")))) == found


@pytest.mark.parametrize("batch", [1, 3])
def test_filament_says_how_near_the_roofline_it_is(ggufs, batch, capsys, longer_windows):
    pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    found = measurement.measure(str(ggufs / "q8_0.gguf"), runtime="filament", batch=batch, **LONGER)
    line = found.roofline
    assert found.runtime == "filament" and line.bytes.value > 0 and line.operations.value > 0
    assert 0 < line.share.low <= line.share.value <= line.share.high
    assert line.place in ("L1", "L2", "L3", "L4", "memory")
    assert "of the roofline" in reached(line)
    assert measurement.measure(str(ggufs / "q8_0.gguf"), **QUICK).roofline is None


def test_a_task_s_answers_side_by_side_in_torch(tiny_folder):
    found = measurement.measure(str(tiny_folder), task=tiny_task("generate", 20), batch=2, trials=4)
    assert (found.runtime, found.task, found.context) == ("torch", "tiny-generate", None)
    assert found.joules_per_answer.source == "estimated" or found.joules_per_answer.value is None
    assert found.cpu_seconds_per_output_token.value is not None
    assert any("quality" in note for note in found.notes)


def test_documents_are_read(ggufs):
    found = measurement.measure(str(ggufs / "f32.gguf"), task=tiny_task("text", 20), trials=4)
    assert found.cpu_seconds_per_prompt_token.value > 0 and found.cpu_seconds_per_output_token.value is None
    assert "one token" in found.tokens_per_second_decode.method


def test_an_endpoint_is_what_its_client_sees(ggufs):
    server = serve(lambda handler, body: good(handler, body, pause=0.002))
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        found = measurement.measure(url, model_name="m", batch=2, **QUICK)
    finally:
        server.shutdown()
        server.server_close()
    assert found.runtime == "endpoint" and "as the client sees it" in found.notes[0]
    assert found.cpu_seconds_per_answer.value is None and found.peak_bytes.value is None
    assert found.seconds_per_output_token.value > 0.0007  # two at a time, 2 ms a token
    assert found.seconds_to_first_token.value >= 0.002
    texts = [body["messages"][0]["content"] for _, _, body in server.asked]
    assert len({t.split()[0] for t in texts[1:]}) == len(texts) - 1  # no prompt begins like another
    if not protocol.Meter().sensors:
        assert found.joules_per_answer.value is None and "no sensor" in found.joules_per_answer.method


@pytest.mark.parametrize(
    "options, error, said",
    [
        ({"trials": 3}, GoalError, "at least 4"),
        ({"batch": 0}, GoalError, "at least 1"),
        ({"threads": 0}, GoalError, "threads"),
        ({"context": 600}, GoalError, "made for 512 tokens"),
        ({"against": "no-such-model"}, ModelError, "no model called"),
        ({"against": "http://127.0.0.1:9/v1"}, ModelError, "which of the endpoint's models"),
    ],
)
def test_what_cannot_be_measured_is_said_first(ggufs, options, error, said):
    with pytest.raises(error, match=said):
        measurement.measure(str(ggufs / "f32.gguf"), **options)


def test_a_model_folder_does_not_run_in_llama_cpp(tiny_folder):
    with pytest.raises(UserError, match="llama.cpp runs GGUF files"):
        measurement.measure(str(tiny_folder), runtime="llamacpp", **QUICK)


def test_the_verb_prints_one_object_and_writes_the_same(ggufs, tmp_path, capsys):
    out = tmp_path / "measured.json"
    verb(str(ggufs / "f32.gguf"), context=24, trials=4, threads=1, out=out, json=True)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and json.loads(printed) == json.loads(out.read_text())
    assert set(Measured.model_fields) == set(json.loads(printed))
    said = inspect.getdoc(verb)
    assert all(f"{name}:" in said for name in inspect.signature(verb).parameters)


def test_prometheus_finds_what_was_taken_so_far(ggufs):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pages: list[str] = []
    done = threading.Event()

    def scrape() -> None:
        while not done.wait(0.02):
            with contextlib.suppress(OSError):
                pages.append(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode())

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        measurement.measure(str(ggufs / "q8_0.gguf"), serve_metrics=port, **QUICK)
    finally:
        done.set()
        thread.join()
    seconds = [float(re.search(r"^lightbulb_cpu_seconds\w*{[^}]*} (\S+)", page, re.MULTILINE)[1]) for page in pages]
    assert len(seconds) > 2 and seconds == sorted(seconds) and seconds[-1] > seconds[0]
