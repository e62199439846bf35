from __future__ import annotations

from typing import Any

import pytest
import yaml
from sample import HOSTILE, not_shrunk_result, nothing_does_result, refused_record, sample_record, sample_result

from lightbulb.core.figures import Figure
from lightbulb.report.card import render_card
from lightbulb.shrinking.record import Result


def parted(card: str) -> tuple[dict[str, Any], str]:
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body.replace("\N{NO-BREAK SPACE}", " ")


def test_the_front_matter_is_what_the_hub_reads() -> None:
    front, body = parted(render_card(sample_result(), region="DE"))
    assert front["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct" and front["license"] == "apache-2.0"
    assert "It was made from HuggingFaceTB/SmolLM2-135M-Instruct." in body
    assert front["pipeline_tag"] == "text-generation" and "lightbulb" in front["tags"]
    assert front["co2_eq_emissions"]["emissions"] == pytest.approx(2.747, abs=1e-3)
    assert "[1.37, 5.49] (estimated)" in front["co2_eq_emissions"]["source"]
    assert front["co2_eq_emissions"]["geographical_location"] == "DE"
    [entry] = front["model-index"]
    [found] = entry["results"]
    assert found["task"]["type"] == "text-classification" and found["dataset"]["name"] == "banking77"
    assert found["metrics"][0]["value"] == pytest.approx(0.914)


def test_what_is_not_known_is_left_out() -> None:
    front, body = parted(render_card(sample_result(making={}, base=None)))
    assert not {"license", "base_model", "co2_eq_emissions"} & front.keys()
    assert "Making it took not measured" in body and "made from" not in body


def test_a_name_that_is_no_hub_id_stays_out_of_the_front_matter() -> None:
    front, body = parted(render_card(sample_result(base={"name": "Tiny Llama"})))
    assert not {"license", "base_model"} & front.keys() and "made from Tiny Llama" in body


def test_the_card_says_that_nothing_was_shrunk_and_scores_what_is_handed_out() -> None:
    front, body = parted(render_card(not_shrunk_result()))
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(0.9218)
    assert "**Not shrunk.** The best student scores 0.614" in body and "-m model.gguf" in body.replace(
        "runs/tickets/", ""
    )
    assert "below the floor: student, 4 layers, q4_0" in body


def test_the_card_of_a_run_that_hands_out_nothing() -> None:
    front, body = parted(render_card(nothing_does_result()))
    assert "model-index" not in front and "## How to use it" not in body
    assert "**Not kept.** The best student scores" in body and "at least 0.95 accuracy" in body


def test_the_card_of_a_student_that_was_refused_before_says_what_to_use_instead() -> None:
    front, body = parted(render_card(Result.model_validate(refused_record())))
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(0.9218)
    assert "**Not shrunk.** The student costs more than a stock file" in body
    use = body[body.index("## How to use it") :]
    assert "ask runs/tickets/steps/teacher-q4_0-2/model.gguf" in use and "-m steps/teacher-q4_0-2/model.gguf" in use


def test_the_energy_section_has_before_after_making_and_pay_back() -> None:
    _, body = parted(render_card(sample_result()))
    energy = body[body.index("## Energy") : body.index("## How to use it")]
    for fact in (
        "34.2 ms [33.5, 34.9] (measured)",
        "3.10 ms [3.04, 3.16] (measured)",
        "13.0 mJ [6.51, 26.0] (estimated)",
        "11.0× [10.7, 11.4]",
        "CPU time per right answer",
        "14.2 mJ [7.12, 28.5] (estimated)",
        "22.7 kJ [11.3, 45.4] (estimated)",
        "174,000 answers",
        "2.75 g CO2e",
    ):
        assert fact in energy, fact


def test_how_to_use_it_without_recorded_commands() -> None:
    _, body = parted(render_card(sample_result(use=[])))
    assert "lightbulb ask model.gguf" in body and "llama-completion -m model.gguf" in body and " -n 1 " in body
    _, body = parted(render_card(sample_result(use=[], kind="generate")))
    assert " -n 1 " not in body and "-n 256" in body


def test_hostile_text_is_neither_markup_nor_yaml() -> None:
    result = sample_result(
        task=f"{HOSTILE}\n---\nlicense: evil",
        machine={"cpu": HOSTILE},
        use=["x ``` y"],
        base={"name": HOSTILE},
        verify={HOSTILE: Figure(value=1, unit="")},
    )
    front, body = parted(render_card(result, name=HOSTILE))
    assert "license" not in front
    assert front["model-index"][0]["name"].startswith("</script>")
    assert "````sh" in body
    outside = body.replace("\\<", "")
    assert "<img" not in outside and "<script" not in outside and "](x)" not in body
    assert "\n---\n" not in body


def test_limits_follow_from_the_record() -> None:
    _, body = parted(render_card(sample_result()))
    assert "closed set" in body and "Joules are estimated" in body
    record = sample_record()
    counted = Figure(value=1.0, unit="J")
    record["student"]["joules_per_answer"] = counted
    making = {**record["making"], "joules": counted}
    _, body = parted(render_card(sample_result(kind="generate", student=record["student"], making=making)))
    assert "closed set" not in body and "Joules are estimated" not in body
