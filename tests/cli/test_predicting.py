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


@pytest.mark.parametrize(
    "words, what",
    [
        (["--device", "H100"], "no model"),
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
