"""The benchmark scripts around the package: their tables and their arithmetic, not their hours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "report")]


def test_the_table_holds_every_model_and_what_it_cost(tmp_path: Path) -> None:
    import main_job
    from sample import sample_result

    from lightbulb.core.files import write_json

    account = tmp_path / "bank.attempts.json"
    noted = {"date": "2026-11-21", "commit": "0123abc"}
    write_json(
        account,
        [
            {"wall_seconds": 1000.0, "peak_bytes": 3_000_000_000, **noted},
            {"wall_seconds": 1900.0, "peak_bytes": 2_000_000_000, **noted, "commit": "4567def"},
        ],
    )
    assert "4567def" in main_job.Attempts.read(account).finished
    text = main_job.render(sample_result(), main_job.Attempts.read(account), "3,080 (all)")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 4  # head, f16, q8_0, q4_0, student
    assert "11.0 [10.7, 11.4] x" in rows[3] and "(estimated)" in rows[1]
    assert "48.3" in text and "2 attempts" in text and "3.00" in text  # 2900 s, the larger of two peaks
    unknown = main_job.render(sample_result(), main_job.Attempts.read(tmp_path / "absent.json"), "3,080 (all)")
    assert "not measured" in unknown and "3,080 (all)" in unknown


def test_a_shortened_test_split_is_told(tmp_path: Path) -> None:
    from main_job import test_items as answered

    from lightbulb.core.files import write_json
    from lightbulb.passes.format_task import FormatTask
    from lightbulb.pipeline.recipe import Recipe, step
    from lightbulb.shrinking.steps import stock_candidates, test_step

    for n, label in enumerate(("teacher-f16-test", "student-2-gguf-test")):
        write_json(tmp_path / "steps" / f"{label}-{n:012x}" / "lightbulb.json", {"facts": {"items": 1540}})
    for limit, told in ((None, "1,540 (all)"), (1540, "1,540 (NOT ALL: too little time)")):
        steps = [test_step(c, limit, "llamacpp") for c in stock_candidates(2)]
        sources = [step(s.source, FormatTask()) for s in steps]
        Recipe(model="m", task="t", seed=0, step=(*sources, *steps)).write(tmp_path / "recipe.toml")
        assert answered(tmp_path) == told


def test_a_section_is_put_once_and_replaced(tmp_path: Path) -> None:
    from sections import put

    page = tmp_path / "page.md"
    page.write_text("# Page\n\n## Job\n\nText.\n\n## Job with more in its name\n\nMore.\n")
    for name, section in (("one", r"first \1"), ("two", "second"), ("one", r"third \g<0>")):
        put(name, section, "## Job", page)
    put("three", "fourth", "## New", page)
    assert page.read_text() == (
        "# Page\n\n## Job\n\nText.\n\n<!-- one -->\nthird \\g<0>\n<!-- /one -->\n\n<!-- two -->\nsecond\n<!-- /two -->"
        "\n\n## Job with more in its name\n\nMore.\n\n## New\n\n<!-- three -->\nfourth\n<!-- /three -->\n"
    )


@pytest.mark.parametrize("kills", [1, 2, 20])
def test_kills_are_spread_over_the_run_and_seeded(kills: int) -> None:
    from kill_resume import kill_moments

    moments = kill_moments(kills, 100.0, 0.4, seed=1)
    assert len(moments) == kills and moments == kill_moments(kills, 100.0, 0.4, seed=1)
    assert all(0 <= m < 100 for m in moments) and moments != kill_moments(kills, 100.0, 0.4, seed=2)
    if kills == 20:
        assert sum(m < 40 for m in moments) >= 14 and sum(m > 50 for m in moments) >= 4


def test_what_a_killed_run_was_doing_is_read_from_its_folder(tmp_path: Path) -> None:
    from kill_resume import left_over, state

    folder = tmp_path / "run"
    assert state(folder) == "starting"
    (folder / "steps" / "model-0123456789ab").mkdir(parents=True)
    assert state(folder) == "between steps"
    (folder / "steps" / ".student-1-plain-0123456789ab.tmp").mkdir()
    assert state(folder) == "in student-1-plain" and left_over(folder) == ("steps/.student-1-plain-0123456789ab.tmp",)


def test_the_meters_table_tells_what_each_says_costs_and_how_it_failed() -> None:
    import meter

    def run(tool: str, workload: str, repeat: int, **more: object) -> dict[str, object]:
        fixed = {"version": "1.2", "wall": 10.0, "start": 0.5, "stop": 0.1, "sampler": 0.02, "source": "a|b"}
        return {"tool": tool, "workload": workload, "repeat": repeat, **fixed, **more}

    rows = []
    for repeat, alone in enumerate((100.0, 200.0, 400.0)):
        for workload in meter.WORKLOADS:
            rows.append(run("none", workload, repeat, rate=alone))
            guess = {"joules": 20.0, "low": 10.0, "high": 80.0, "rate": alone}
            rows.append(run("lightbulb", workload, repeat, **guess))
            rows.append(run("codecarbon", workload, repeat, joules=280.0, rate=0.8 * alone))
            rows.append(run("zeus", workload, repeat, joules=0.0, rate=alone))
            rows.append(
                {"tool": "pyjoules", "workload": workload, "repeat": repeat, "version": "", "error": "crashed: X"}
            )
    lines = {line.split("|")[1].strip(): line for line in reversed(meter.render(rows).splitlines()) if "|" in line}
    told = {line.split("|")[1].strip(): line for line in meter.render(rows).splitlines() if "|" in line}
    assert "2.00 W [1.00, 8.00], 20.0 J | yes | a\\|b |" in lines["lightbulb 1.2"].replace("\N{NO-BREAK SPACE}", " ")
    assert "28.0 W, 280 J | no |" in lines["codecarbon 1.2"].replace("\N{NO-BREAK SPACE}", " ")
    assert "crashed: X" in lines["pyjoules"] and "crashed" not in told["pyjoules"]
    assert told["codecarbon"].count("20.0% [20.0, 20.0]") == 2 and "2.00%" in told["codecarbon"]
    assert "zeus said 0 W" in meter.spread(rows) and "codecarbon said 14 times what lightbulb" in meter.spread(rows)


def test_a_meter_that_crashes_is_a_row(monkeypatch) -> None:
    import meter

    def broken():
        yield {}
        sys.exit(70)

    monkeypatch.setitem(meter.TOOLS, "broken", broken)
    row = meter.measure("broken", "asleep", 0.0)
    assert row["error"] == "crashed: SystemExit at stop: 70"
    row = meter.measure("none", "two threads", 0.05)
    assert row["rate"] > 0 and 0 <= row["sampler"] < 0.5


def test_filament_s_table_puts_runtimes_side_by_side() -> None:
    import filament

    ours = [filament.Timed(1e-4, 1e-4, (2e-4, 1e-4, 4e-4), 4e-5, 5e-5)]
    ours += [filament.Timed(2e-4, 1e-4, None, 6e-5, 6e-5)]
    theirs = [filament.Timed(4e-4, 2e-4, None), filament.Timed(6e-4, 3e-4, None)]
    cells = filament.Row("m", 1, "write after 64", {"filament": ours, "xllamacpp": theirs}).cells()
    assert len(cells) == len(filament.HEAD)
    assert cells[3:6] == ["150", "500", "3.50 (3.00 to 4.00)"] and cells[6] == "2.50 (2.00 to 3.00)"
    assert cells[7:10] == ["-"] * 3 and cells[10:12] == ["10,000", "50% (40% to 60%)"]
    assert cells[12:] == ["90% (80% to 100%)", "2.0 [1.0, 4.0]"]
    assert filament.watts(theirs) == "not measured"


def test_what_filament_is_measured_with_can_be_made(tmp_path: Path) -> None:
    from gguf import GGUFReader
    from shapes import Shape, write_shape

    write_shape(tmp_path / "m.gguf", Shape(2, 256, 512, 300, "TQ2_0"))
    types = {t.name: t.tensor_type.name for t in GGUFReader(tmp_path / "m.gguf").tensors}
    assert types["token_embd.weight"] == "Q8_0" and types["blk.1.ffn_down.weight"] == "TQ2_0"


def test_the_table_of_training_speed() -> None:
    from training import Outcome, processor, rate, render

    # 3 epochs of 3 steps: the third step took 4 s, and so would the first two have without their start; the others 1 s
    assert rate([9.0, 20.0, 24.0, 25.0, 26.0, 27.0, 28.0, 29.0, 30.0], 100) == 900 / (3 * 4 + 6)
    outcomes = {
        ("full", 16, "old"): [Outcome(100.0, 2.0), Outcome(110.0, 2.0)],
        ("full", 16, "new"): [Outcome(150.0, 1.9), Outcome(220.0, 1.9)],
        ("student", 64, "trainer"): [Outcome(80.0, 3.0)],
    }
    rows = [line for line in render(outcomes, ["a machine"]).splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 3
    assert "105 [100, 110]" in rows[1] and "1.00 [1.00, 1.00]" in rows[1]
    assert "1.75 [1.50, 2.00]" in rows[2] and "1.900" in rows[2] and "all layers | 16 | this loop" in rows[2]
    assert "not measured" in rows[3] and "| 80 |" in rows[3]
    assert processor()


def test_training_sequences_are_whole_and_apart(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import sequences

    monkeypatch.setenv("TRAINING_BENCHMARK_MODEL", str(tiny_folder))
    seen, unseen = sequences(16, 5), sequences(16, 3, skip=5)
    assert [len(s) for s in seen + unseen] == [17] * 8
    assert sequences(16, 8) == seen + unseen


def test_the_structure_counts_files_functions_and_pairs() -> None:
    from structure import cells, shape

    one = "from lightbulb.b import thing\n\n\ndef f(x: int, y, *, z=1):\n"
    one += "    def g(self):\n        return y\n\n    return g\n"
    two = "class C:\n    def h(self, a: int, *b: str) -> None:\n        import lightbulb.a.one\n"
    found = shape(
        {
            "src/lightbulb/a/one.py": one,
            "src/lightbulb/b.py": two,
            "src/lightbulb/c.py": "import lightbulb.a\n",
            "tests/test_one.py": "\n" * 22,
        }
    )
    assert found.lengths == {"src/lightbulb/a/one.py": 8, "src/lightbulb/b.py": 3, "src/lightbulb/c.py": 1}
    assert sorted(found.functions) == [2, 2, 5] and found.annotated == (3, 5) and found.pairs == [("a", "b")]
    told = cells(found)
    assert told["longest file, lines"] == "8 (`a/one.py`)" and told["test lines to source lines"] == "1.83"
    assert told["functions within 20 lines"] == "100.0% of 3" and told["pairs that import each other"] == "1"


def test_matmulfree_speed_tells_times_and_what_was_left_out(tmp_path: Path) -> None:
    import argparse

    import matmulfree_speed as bench

    def entry(model: str, runtime: str, wall: float, peak: int | None, **more: object) -> dict[str, object]:
        write = {"cpu": 2 * wall, "wall": wall, "joules": [0.2, 0.1, 0.4], "fastest": wall / 2}
        found = {"read": {"wall": 0.01}, "write": [write] * 3, "others": 0.5, "peak": peak, "least": wall / 4}
        where = {"size": "1.3B", "model": model, "runtime": runtime, "context": 128, "threads": 2}
        return {**where, "date": "2026-11-27", "commit": "0123abc", **found, **more}

    asked = argparse.Namespace(only=None, threads=2, windows=3, written=32, contexts=[128, 512], most=1, out=tmp_path)
    rows = [
        entry("MatMul-free, TQ2_0", "filament", 0.05, 500_000_000),
        entry("transformer, F16", "llama.cpp", 0.2, 4_000_000_000, least=None),
    ]
    (tmp_path / "records.jsonl").write_text("".join(bench.json.dumps(r) + "\n" for r in rows) + '{"cut sh')
    assert bench.read_records(tmp_path) == rows
    ours, theirs = bench.cells(rows[0]), bench.cells(rows[1])
    assert len(ours) == len(theirs) == len(bench.HEAD)
    assert ours[4:6] == ["100.0", "20.0 [20.0, 20.0]"] and ours[7] == "200 [100, 400]" and ours[9:11] == ["25%", "50%"]
    assert theirs[9] == "-" and ours[11] == "500"
    text = bench.render(rows, asked)
    assert "after 128 4.00 x the time, 8.0 x the memory" in text
    model = bench.MODELS[0]
    assert bench.refused("1.3B", model, "filament", 512, asked) is None
    slow = entry(model.name, "filament", 0.05, None, read={"wall": 1.0})
    with (tmp_path / "records.jsonl").open("a") as records:  # of two lines on the same the later counts
        records.write("\n" + bench.json.dumps(slow) + "\n")
    assert bench.read_records(tmp_path) == [slow, rows[1]]
    assert bench.refused("1.3B", model, "filament", 512, asked) == "reading takes over 1 minutes"
    left = entry(model.name, "filament", 0, None, left_out="no room in memory")
    assert "not measured: no room in memory" in bench.cells(left)
    with (tmp_path / "records.jsonl").open("a") as records:
        records.write(bench.json.dumps(left) + "\n")
    assert bench.measured(asked, "1.3B", model, "filament", 128) is None  # tried again


def test_models_of_random_blocks_are_as_large_as_they_say(tmp_path: Path) -> None:
    from gguf import GGUFReader
    from matmulfree_shapes import TINY, Kind, write_size

    filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    for architecture, kind in (("matmulfree", Kind.TQ2_0), ("llama", Kind.TQ2_0), ("llama", Kind.F16)):
        path = tmp_path / "m.gguf"
        write_size(path, TINY, architecture, kind)
        tensors = GGUFReader(path).tensors
        assert sum(int(t.n_elements) for t in tensors if len(t.shape) > 1) == TINY.weights
        logits = filament.Model(path).logits([1, 2, 3])
        assert 0.1 < logits.std() < 10


def test_a_ternary_layer_stands_beside_plain_ones(tmp_path: Path) -> None:
    import ternary_linear as bench

    filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    for kind in bench.KINDS:
        bench.write_blocks(tmp_path / "m.gguf", 256, 3, kind)
        assert 0.1 < filament.Model(tmp_path / "m.gguf", threads=1).logits([3, 4, 5]).std() < 10
    ran = {name: [1e-6, 2e-5] for name in ("TQ2_0", "Q4_0", "Q8_0", "F16", "nn.Linear")} | {"Q4_0": [3e-6, 4e-5]}
    line = bench.row(512, {"ternary": 0.013, "nn.Linear": 0.01}, ran)
    assert line.startswith("| 512 | 13 | 10 | 1.30x | 1 / 20 | 3 / 40 |") and line.count("|") == 10
    took = bench.cpu_seconds({"one": lambda: sum(range(20_000)), "ten": lambda: sum(range(200_000))}, 1)
    assert took["ten"] > 3 * took["one"] > 0


def test_a_task_of_few_answers_has_them_alone(tmp_path: Path) -> None:
    import ternarize

    for name, count in (("train", 300), ("test", 40)):
        rows = [{"prompt": f"{name} question {n} of it", "completion": f"answer {n % 5}"} for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(ternarize.json.dumps(row) + "\n" for row in rows))
    task = ternarize.few_answers(tmp_path, tmp_path / "few", answers=3, examples=90)
    assert set(task.answers) == {"answer 0", "answer 1", "answer 2"} and len(task.test) == 24
    assert len(task.train) + len(task.validation) == 90


def test_rounded_models_stand_beside_the_best_of_llama_cpp(tmp_path: Path) -> None:
    from argparse import Namespace

    import quantize

    from lightbulb.core.files import write_json

    prepared = {"nats": [3.0, 3.2, 2.8], "calibrate": 20.0, "probe": 60.0}
    write_json(tmp_path / "prepared.json", prepared)
    made = {"seconds": 12.0, "peak_bytes": 2_000_000_000, "bits_per_weight": 5.342}
    for side, factor in ((quantize.LLAMACPP, 3.0), (quantize.LLAMACPP_IMATRIX, 2.0), (quantize.GPTQ, 1.0)):
        kl = [0.01 * factor, 0.03 * factor, 0.02 * factor]
        said = made | {"nats": [n + 0.01 * factor for n in prepared["nats"]], "divergence": kl}
        write_json(tmp_path / quantize.Row("4", side).file, said)
    lines = quantize.table(Namespace(out=tmp_path)).splitlines()
    rows = {line.split(" | ")[1]: line for line in lines if line.startswith("| 4 ")}
    assert "0.5x [0.5, 0.5]" in rows[quantize.GPTQ] and "| 20 [10, 30] |" in rows[quantize.GPTQ]
    assert "1.03 [1.03, 1.03]" in rows[quantize.LLAMACPP] and "x [" not in rows[quantize.LLAMACPP]
    assert len(rows) == 3 and "5.342" in rows[quantize.GPTQ] and "| 12 | 2.00 |" in rows[quantize.GPTQ]


def test_intents_become_questions_that_no_answer_fits(tmp_path: Path) -> None:
    import abstain

    from lightbulb.tasks.load import load_task

    names = [f"{a}{b}" for a in ("ruby", "iron", "salt", "wool", "clay") for b in ("town", "river", "gate", "hill")]
    (tmp_path / "banking77").mkdir()
    for split, count in (("train", 12), ("test", 4)):
        rows = [
            {"prompt": f"the {split} {name} number {n}", "completion": name} for name in names for n in range(count)
        ]
        text = "".join(abstain.json.dumps(row) + "\n" for row in rows)
        (tmp_path / "banking77" / f"{split}.jsonl").write_text(text)
    rows = {}
    for strangers in ("known", "new"):
        folder = abstain.prepare(tmp_path, strangers, 0, tmp_path / strangers)
        rows[strangers] = [
            {row["prompt"].split()[2] for row in abstain.read(folder / f"{split}.jsonl") if row["completion"] == "oos"}
            for split in ("train", "test")
        ]
    assert rows["known"][0] == rows["known"][1] and len(rows["known"][0]) == 6
    assert not rows["new"][0] & rows["new"][1] and rows["new"][0] | rows["new"][1] == rows["known"][0]
    task = load_task(str(folder), none_label="oos", seed=0)
    assert len(task.answers) == 12 and len(task.test) == 48 and len(task.outside.test) == 12
    known, none = list(task.train), list(task.outside.validation)
    words = abstain.Texts().fit([e.prompt for e in known])
    cells = abstain.row("pipeline", task, words, known, none, 0.9).split(" | ")
    assert cells[1].startswith("1.00 ") and cells[2].startswith("100") and 0 < float(cells[5]) < 1
    both = abstain.Texts().fit([e.prompt for e in (*known, *none)])
    assert "| 1.00 " in abstain.row("a class of its own", task, both, [*known, *none], none, 0.9)


def test_an_answer_of_one_layer_stands_beside_llama_cpp(tmp_path: Path) -> None:
    from argparse import Namespace

    import one_layer
    from shapes import Shape, write_shape

    write_shape(tmp_path / "m.gguf", Shape(1, 64, 64, 300, "Q4_0"))
    found = {
        "filament": [one_layer.Timed(cpu, cpu, 13.0, ["a", "b"]) for cpu in (1e-4, 5e-4, 2e-4)],
        "llamacpp": [one_layer.Timed(cpu, cpu, 13.0, ["a", "c"]) for cpu in (1e-3, 1e-3, 4e-3)],
    }
    pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    text = one_layer.render(tmp_path / "m.gguf", found, Namespace(file=None, questions=2, trials=3))
    assert "1 layer, width 64, 300 tokens" in text and "Cut, not trained" in text
    row = next(line for line in text.splitlines() if "xllamacpp)" in line and line.startswith("|"))
    assert row.endswith("| 10 (2 to 20) |")
    assert "in 2 of 3 trials" in text and "50.0% of the questions" in text


@pytest.mark.parametrize("seconds", [60.0, 200.0, 900.0])
def test_ways_of_cutting_first_take_the_seconds_that_they_are_given(seconds: float) -> None:
    from argparse import Namespace

    from cut_first import Job

    from lightbulb.shrinking.cost_model import CostModel, TaskStats
    from lightbulb.shrinking.times import Times

    none = dict.fromkeys(("read_example", "answer_folder", "answer_file", "pass_seconds"), 0.0)
    paces = {"full_step": 2.5, "frozen_step": 1.25, "frozen_again": 1.25, "student_steps": ((2, 0.2), (6, 0.5))}
    costs = CostModel(
        Times(layers=30, frozen_layers=18, **paces, **none), TaskStats("generate", 2000, 200, 6000, 120, 18.0)
    )
    job = Job(execution=None, costs=costs, asked=Namespace(rate=6e-4))
    for layers in (6, 12):
        taken = job.schedule(seconds, layers).planned(2000) * costs.times.student_step(layers)
        assert taken == pytest.approx(seconds, rel=0.05)
    whole = job.whole(seconds)
    taken = whole.schedule.planned(2000) * costs.times.teacher_step(whole.freeze_layers, whole.schedule.epochs)
    assert taken == pytest.approx(seconds, rel=0.05) and whole.freeze_layers in (0, 12, 15, 18)


def test_a_schema_is_made_of_what_answers_have_in_common() -> None:
    """Keys in each order that was seen; values by name where they are few."""
    from drafts import FEW, schema_of

    answers = ['{"do":"on","room":"hall"}', '{"do":"off","room":"hall"}']
    answers += [f'{{"do":"alarm","at":"{n}"}}' for n in range(FEW + 1)]
    first, second = schema_of(answers)["anyOf"]
    assert first["properties"] == {"do": {"enum": ["alarm", "off", "on"]}, "room": {"enum": ["hall"]}}
    assert second["properties"]["at"]["type"] == "string" and second["required"] == ["do", "at"]
