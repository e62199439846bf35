from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample import DEAR, Q4, refused_record, sample_record, sample_result

from lightbulb.core.errors import RunFailure
from lightbulb.core.figures import Figure
from lightbulb.shrinking.record import Result


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = sample_result()
    result.write(tmp_path / "result.json")
    assert Result.read(tmp_path / "result.json") == result


def test_the_file_has_the_keys_that_were_promised(tmp_path: Path) -> None:
    sample_result().write(tmp_path / "result.json")
    raw = json.loads((tmp_path / "result.json").read_text())
    assert {
        "verdict",
        "task",
        "kind",
        "metric",
        "teacher",
        "baselines",
        "student",
        "retention",
        "making",
        "break_even_answers",
    } <= raw.keys()
    assert {
        "path",
        "runtime",
        "score",
        "bytes",
        "joules_per_answer",
        "cpu_seconds_per_answer",
        "tokens_per_second",
    } <= raw["student"].keys()
    assert {"joules", "cpu_seconds", "seconds", "grams_co2e"} <= raw["making"].keys()


def test_keys_of_a_later_version_are_carried_along(tmp_path: Path) -> None:
    record = sample_record()
    record["student"]["watts"] = 3
    result = Result.model_validate({**record, "weather": "sunny"})
    result.write(tmp_path / "result.json")
    raw = json.loads((tmp_path / "result.json").read_text())
    assert raw["weather"] == "sunny" and raw["student"]["watts"] == 3


def test_lists_may_be_left_out_and_names_are_filled() -> None:
    needed = {"verdict", "task", "kind", "metric", "keep", "retention", "making", "break_even_answers"}
    record = {k: v for k, v in sample_record().items() if k in needed}
    score = {"score": Figure(value=0.9, unit="")}
    result = Result.model_validate({**record, "teacher": score, "student": score})
    assert [m.name for m in result.models] == ["adapted teacher", "student"]
    assert result.ledger == [] and result.student.bytes is None


def test_files_from_before_base_are_read(tmp_path: Path) -> None:
    old = {k: v for k, v in sample_result().model_dump(mode="json").items() if k != "base"}
    (tmp_path / "result.json").write_text(json.dumps(old))
    assert Result.read(tmp_path / "result.json").base is None


def test_a_refused_student_of_before_is_read_as_not_shrunk(tmp_path: Path) -> None:
    """The stock file that was to be used instead takes its place, and the reason stays."""
    old = {k: v.model_dump() if isinstance(v, Figure) else v for k, v in refused_record().items()}
    (tmp_path / "result.json").write_text(json.dumps(old, default=lambda figure: figure.model_dump()))
    result = Result.read(tmp_path / "result.json")
    assert (result.verdict, result.reason) == ("not-shrunk", DEAR)
    assert result.student.name == Q4 and result.student.path == "steps/teacher-q4_0-2/model.gguf"
    assert result.best_student.name == "student" and result.shrunk is None
    result.write(tmp_path / "again.json")
    assert Result.read(tmp_path / "again.json") == result
    not_refused = {**old, "refused": None}
    (tmp_path / "result.json").write_text(json.dumps(not_refused, default=lambda figure: figure.model_dump()))
    assert Result.read(tmp_path / "result.json").verdict == "kept"


def test_what_is_no_result_names_the_file_and_the_key(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"verdict": "perfect"}))
    with pytest.raises(RunFailure) as caught:
        Result.read(path)
    assert str(path) in str(caught.value) and "verdict" in str(caught.value) and caught.value.hint
