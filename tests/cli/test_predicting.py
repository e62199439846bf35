"""`lightbulb predict` on the command line."""

from __future__ import annotations

import json

import pytest

from lightbulb.cli import main

LLAMA = {"layers": 32, "width": 4096, "heads": 32, "kv-heads": 8, "ffn": 14336, "vocab": 128256}


def told(capsys, *words: str) -> dict:
    assert main(["predict", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_one_json_object_with_the_promised_keys(capsys):
    record = told(capsys, "--parameters", "8.03e9", "--device", "H100", "--batch", "64", "--context", "800")
    for name in ("joules_per_output_token", "joules_per_prompt_token", "tokens_per_second"):
        assert record[name]["low"] < record[name]["value"] < record[name]["high"]
    assert record["fits"] is True and record["bound_by"] == "memory bandwidth"


def test_a_bare_shape_says_what_the_number_of_parameters_guesses(capsys):
    sizes = [f"--{k}={v}" for k, v in LLAMA.items()]
    exact = told(capsys, *sizes, "--device", "rtx 4090", "--bits", "q4_k_m")
    guess = told(capsys, "--parameters", "8.03e9", "--device", "rtx 4090", "--bits", "4.85")
    a, b = (r["joules_per_output_token"]["value"] for r in (exact, guess))
    assert a == pytest.approx(b, rel=0.1)
    assert not exact["notes"] and guess["notes"]


def test_the_catalogue(capsys):
    assert main(["predict", "--devices", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["devices"]
    assert len(listed) >= 30 and all(d["sources"] for d in listed)
    assert main(["predict", "--devices"]) == 0
    assert "raspberry-pi-5" in capsys.readouterr().out


def test_a_page_for_people(capsys):
    assert main(["predict", "--parameters", "8e9", "--device", "h100", "--count", "2"]) == 0
    page = capsys.readouterr().out
    assert "2 x H100" in page and "at the wall" in page and "bound by" in page


def test_the_wall_of_a_desktop_and_its_nearest_rows(capsys):
    words = ("--parameters", "8.03e9", "--bits", "q4_k_m", "--device", "rtx 4090")
    board, wall = told(capsys, *words), told(capsys, *words, "--scope", "wall")
    assert (board["scope"], wall["scope"]) == ("board", "wall")
    assert wall["joules_per_output_token"] == board["wall_joules_per_output_token"]
    assert wall["joules_per_output_token"]["value"] > board["joules_per_output_token"]["value"]
    assert len(wall["nearest"]) == 3 and all(row["low"] < row["predicted"] < row["high"] for row in wall["nearest"])
    assert main(["predict", *words]) == 0
    assert "predicted without" in capsys.readouterr().out


def test_an_answer_with_its_thinking(capsys):
    words = ["--parameters", "8e9", "--device", "h100", "--prompt-tokens", "200", "--answer-tokens", "50"]
    words += ["--thinking-tokens", "450"]
    found = told(capsys, *words)
    assert found["answer"]["thinking_tokens"] == 450 and found["context"] == 450
    assert found["answer"]["joules_per_right_answer"] is None
    assert main(["predict", *words]) == 0
    assert "200 read, 50 written, 450 thought" in capsys.readouterr().out


def test_what_a_right_answer_costs(capsys, tmp_path):
    tokens = {f"{side}_tokens_per_answer": {"value": 20, "unit": "tokens"} for side in ("prompt", "output")}
    student = {"score": {"value": 0.5, "low": 0.4, "high": 0.6, "unit": ""}, **tokens}
    (tmp_path / "result.json").write_text(json.dumps({"metric": "accuracy", "student": student}))
    words = ["--parameters", "1e9", "--device", "m4", "--result", str(tmp_path), "--retries", "1"]
    answer = told(capsys, *words)["answer"]
    assert answer["joules_per_right_answer"]["value"] == pytest.approx(2 * answer["joules_per_answer"]["value"])
    assert answer["right_in_the_end"]["value"] == 0.75
    assert main(["predict", *words]) == 0
    page = capsys.readouterr().out
    assert "right answer" in page and "with 1 retries" in page


def test_readings_of_ones_own_become_a_device(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text(
        '[[reading]]\nparameters = 8e9\nbits = 4.85\nscope = "wall"\nwatts = 900\ntokens_per_second = 90\n'
    )
    words = ["--device", "rtx 4090", "--calibrate", str(tmp_path / "mine.txt"), "--out", str(tmp_path / "mine.toml")]
    found = told(capsys, *words)["readings"][0]
    before, after = found["joules_before"], found["joules_after"]
    assert before["value"] < after["value"] <= 10 and after["high"] / after["low"] < before["high"] / before["low"]
    told_now = told(
        capsys, "--parameters", "8e9", "--bits", "4.85", "--device", str(tmp_path / "mine.toml"), "--scope", "wall"
    )
    assert told_now["joules_per_output_token"]["value"] == pytest.approx(after["value"])
    assert main(["predict", *words]) == 0
    assert "written: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, what",
    [
        (["--device", "H100"], "no model"),
        (["--parameters", "8e9", "--device", "tpu v4", "--scope", "wall"], "--scope board"),
        (["--parameters", "8e9", "--device", "H100", "--retries", "2"], "--result FOLDER"),
        (["--device", "H100", "--calibrate", "no/such/file", "--out", "x.toml"], "cannot read the readings"),
        (["--device", "H100", "--calibrate", "no/such/file", "--out", "x.txt"], "--out my-device.toml"),
        (["--parameters", "8e9"], "no device"),
        (["--parameters", "8e9", "--device", "H1000000"], "H1000000"),
        (["--parameters", "8e9", "--layers", "3", "--device", "H100"], "both"),
        (["--layers", "3", "--device", "H100"], "--width"),
        (["--parameters", "-1", "--device", "H100"], "parameters"),
        (["--parameters", "8e9", "--device", "H100", "--bits", "q99"], "q99"),
        (["--parameters", "8e9", "--device", "H100", "--batch", "0"], "batch"),
        (["no/such/model/here", "--device", "H100"], "no model called"),
    ],
)
def test_user_errors_exit_2(capsys, words, what):
    assert main(["predict", *words]) == 2
    assert what in capsys.readouterr().err
