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

    from lightbulb.store import write_json

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

    from lightbulb.store import write_json

    for n, label in enumerate(("teacher-f16-test", "student-2-distill-q4_0-gguf-test")):
        write_json(tmp_path / "steps" / f"{label}-{n:012x}" / "lightbulb.json", {"facts": {"items": 1540}})
    write_json(tmp_path / "plan.json", {"test_limit": None})
    assert answered(tmp_path) == "1,540 (all)"
    write_json(tmp_path / "plan.json", {"test_limit": 1540})
    assert "NOT ALL" in answered(tmp_path)


def test_a_section_is_put_once_and_replaced(tmp_path: Path) -> None:
    from main_job import HEADING, write_section

    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{HEADING}\n\nText.\n\n## Next\n\nMore.\n")
    for task, body in (("one", r"first \1"), ("two", "second"), ("one", r"third \g<0>")):
        write_section(page, task, body)
    text = page.read_text()
    assert text.count("### one") == text.count("### two") == 1
    assert "first" not in text and r"third \g<0>" in text
    assert text.index("### one") < text.index("### two") < text.index("## Next") and text.endswith("More.\n")


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
