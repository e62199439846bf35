"""`lightbulb forecast` as it is typed: forms of numbers, errors, JSON, the page, and runs as a source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tyro
from sample import Q4, sample_record

from lightbulb.cli.forecasting import forecast
from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.forecasting.request import number, price


def typed(line: str) -> None:
    tyro.cli(forecast, args=line.split())


def record(capsys, line: str) -> dict:
    typed(f"{line} --json")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))


def page(capsys, line: str) -> str:
    typed(line)
    return " ".join(capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.fixture
def run(tmp_path) -> Path:
    from lightbulb.shrinking.record import Result

    Result.model_validate(sample_record()).write(tmp_path / "result.json")
    return tmp_path


def test_forms_of_numbers():
    assert number("2e6", "answers_per_day").value == 2e6
    given = number(" 0.4[0.3, 0.6] ", "joules_per_answer")
    assert (given.value, given.low, given.high, given.source) == (0.4, 0.3, 0.6, "estimated")
    middle = number("6500..10200", "server_watts")
    assert (middle.low, middle.value, middle.high, middle.unit) == (6500, 8350, 10200, "W")
    assert number(".5..1.", "growth").value == 0.75 and number("-0.5", "growth").value == -0.5
    assert (price("0.25").unit, price("0.25 EUR").unit, price("1e-1€").unit) == ("money", "EUR", "€")
    assert price("0.2..0.3USD").high == 0.3


GOOD = "--answers-per-day 2e6 --joules-per-answer 0.4"
BAD = {
    "--answers-per-day -1 --joules-per-answer 1": "above 0",
    "--answers-per-day 0 --joules-per-answer 1": "above 0",
    "--answers-per-day nan --joules-per-answer 1": "not a number",
    "--answers-per-day inf --joules-per-answer 1": "not a number",
    "--answers-per-day 1e400 --joules-per-answer 1": "out of range",
    "--answers-per-day 1 --joules-per-answer -0.4": "above 0",
    "--answers-per-day 1 --joules-per-answer 0[0,1]": "above 0",
    "--answers-per-day 1 --joules-per-answer 5[6,7]": "does not hold its value",
    "--answers-per-day 1 --joules-per-answer no/such/run": "neither a number nor a finished run",
    "--answers-per-day 1 --joules-per-answer .": "neither a number nor a finished run",
    f"{GOOD} --growth -1": "above -1",
    f"{GOOD} --growth nan": "not a number",
    f"{GOOD} --years 0": "from 1 to 100",
    f"{GOOD} --pue 0.9": "from 1 to 100",
    f"{GOOD} --pue nan": "not a number",
    f"{GOOD} --zone Atlantis": "no grid intensity",
    f"{GOOD} --market-intensity -3": "from 0",
    f"{GOOD} --certified-share 0.5": "without the intensity",
    f"{GOOD} --market-intensity 3 --certified-share 2": "from 0 to 1",
    f"{GOOD} --price-per-kwh EUR": "not a number",
    f"{GOOD} --price-per-kwh -1": "from 0",
    f"{GOOD} --embodied-kg 5 --hardware-years 0": "out of range",
    f"{GOOD} --servers 5": "two ways to ask",
    "--answers-per-day 5": "not enough",
    "--servers 5": "not enough",
    "--servers 5 --server-watts 9..3": "does not hold its value",
    "--servers 5 --server-watts 9 --hours-per-day 25": "at most 24",
    "--servers 5 --server-watts 9 --requests-per-day 0": "above 0",
    "": "not enough",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_gives_one_clear_error(line, capsys):
    with pytest.raises(UserError, match=BAD[line]) as error:
        typed(line)
    assert error.value.where and error.value.hint and capsys.readouterr().out == ""


def test_the_largest_numbers_stay_numbers(capsys):
    said = record(
        capsys, "--answers-per-day 1e18 --joules-per-answer 1e18 --growth 100 --years 100 --price-per-kwh 1e18"
    )
    assert said["money"]["value"] > 1e200
    assert page(capsys, "--answers-per-day 1e-18 --joules-per-answer 1e-18")


def test_the_object_on_stdout(capsys):
    said = record(capsys, f"{GOOD} --growth 0.5 --years 2 --zone FRA --market-intensity 300 --price-per-kwh 0.25EUR")
    assert said["answers_per_year"]["value"] == pytest.approx(730e6)
    assert said["kwh"]["value"] == pytest.approx(730e6 * 0.4 * 2.5 / 3.6e6)
    assert said["grams_co2e"]["market_based"]["value"] == pytest.approx(300 * said["kwh"]["value"])
    assert said["grams_co2e"]["location_based"]["value"] == pytest.approx(44.18 * said["kwh"]["value"])
    assert said["money"]["value"] == pytest.approx(said["kwh"]["value"] / 4) and said["money"]["unit"] == "EUR"
    assert [y["kwh"]["value"] for y in said["by_year"]] == pytest.approx([said["kwh"]["value"] * s for s in (0.4, 0.6)])
    assert said["sci"]["unit"] == "g CO2e/answer" and said["zone"] == "France"
    assert all(said[key] is None for key in ("against", "saved", "pay_back", "gigawatts", "wh_per_request"))
    assert said["comparisons"]["of"] == "this model" and len(said["comparisons"]["list"]) == 6
    assert record(capsys, GOOD)["grams_co2e"]["market_based"]["value"] is None


def test_the_fleet_of_de_vries_as_it_is_typed(capsys):
    said = record(capsys, "--servers 1.5e6 --server-watts 6500..10200")
    assert (round(said["kwh"]["low"] / 1e9, 1), round(said["kwh"]["high"] / 1e9, 1)) == (85.4, 134.0)
    said = page(capsys, "--servers 3617 --server-watts 6500 --requests-per-day 195e6")
    assert "2.89 Wh" in said and "206 GWh" in said


def test_the_page_shows_intervals_sources_and_arithmetic(capsys):
    said = page(capsys, "--answers-per-day 2e6 --joules-per-answer 1800[900,3600] --zone FRA --pue 1.2")
    assert "438 MWh [219, 876] (estimated)" in said and "France" in said and "PUE 1.2" in said
    assert "not known" in said and "--market-intensity" in said
    assert "438,000 kWh / 10,791 kWh = 40.6" in said and "EIA" in said
    assert "money" not in said and "year 1" not in said


def test_two_models_side_by_side(capsys):
    said = record(capsys, f"{GOOD} --against-joules-per-answer 4")
    assert said["saved"]["kwh"]["value"] == pytest.approx(said["against"]["kwh"]["value"] - said["kwh"]["value"])
    assert said["comparisons"]["of"] == "saved" and said["pay_back"] is None
    assert "what is saved" in page(capsys, f"{GOOD} --against-joules-per-answer 4 --years 2 --growth -0.5")


def test_a_finished_run_is_student_and_cheapest_baseline(capsys, run):
    for source in (run, run / "result.json"):
        said = record(capsys, f"--answers-per-day 1e6 --joules-per-answer {source}")
        assert said["name"] == "student" and said["against"]["name"] == Q4
    result = sample_record()
    assert said["joules_per_answer"]["value"] == result["student"]["joules_per_answer"].value
    assert said["pay_back"]["answers"]["value"] == result["break_even_answers"].value
    assert said["pay_back"]["days"]["value"] == pytest.approx(result["break_even_answers"].value / 1e6)
    saved = said["saved"]["joules_per_answer"]  # the watts cancel: the run's ratio of 9.8 to 12.4 says it is a saving
    before = result["baselines"][1]["joules_per_answer"]
    assert saved["low"] == pytest.approx(before.low * (1 - 1 / 9.8)) and saved["low"] > 0
    assert "pay-back of the making: after" in page(capsys, f"--answers-per-day 1e6 --joules-per-answer {run}")


def test_a_run_beside_a_number(capsys, run):
    said = record(capsys, f"--answers-per-day 1e6 --joules-per-answer {run} --against-joules-per-answer 5")
    made, student = (sample_record()[k]["joules" + s] for k, s in (("making", ""), ("student", "_per_answer")))
    assert said["pay_back"]["answers"]["value"] == pytest.approx(made.value / (5 - student.value))
    said = record(capsys, f"--answers-per-day 1e6 --joules-per-answer 1e-6 --against-joules-per-answer {run}")
    assert said["against"]["name"].startswith("student") and said["pay_back"] is None


def bad_results():
    nothing = sample_record()
    nothing["student"]["joules_per_answer"] = None
    unmeasured = sample_record()
    unmeasured["student"]["joules_per_answer"] = Figure(value=None, unit="J")
    nan = sample_record()
    nan["making"]["joules"] = Figure(value=float("nan"), unit="J")
    odd = sample_record()
    odd["break_even_answers"] = Figure(value=-5.0, unit="answers")
    return {"nothing": nothing, "unmeasured": unmeasured, "nan": nan, "odd": odd}


@pytest.mark.parametrize("case", bad_results())
def test_a_run_without_usable_joules(case, tmp_path):
    text = json.dumps(bad_results()[case], default=lambda f: f.model_dump())
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UserError, match="joules|answers") as error:
        typed(f"--answers-per-day 1e6 --joules-per-answer {tmp_path}")
    assert error.value.where and error.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"verdict": "kept"}', "[" * 100_000, "\udcff"])
def test_a_file_that_is_no_result(text, tmp_path):
    (tmp_path / "result.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match="no result of a run") as error:
        typed(f"--answers-per-day 1e6 --joules-per-answer {tmp_path / 'result.json'}")
    assert "result.json" in error.value.where
