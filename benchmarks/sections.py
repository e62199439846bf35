"""docs/benchmarks.md: each benchmark prints its own section again, between <!-- name --> and <!-- /name -->."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"


def put(name: str, section: str, heading: str, page: Path = PAGE) -> None:
    """Replaces what stands between the markers of `name`, or puts it at the end of the part below `heading`, which is
    begun at the end of the page where it is not there."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    block, text = f"{begin}\n{section}\n{end}", page.read_text(encoding="utf-8")
    if begin in text and end in text:
        text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, text, flags=re.DOTALL)
    else:
        if heading not in text.splitlines():
            text = f"{text.rstrip()}\n\n{heading}\n"
        below = re.search(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE)
        assert below
        before, after = text[: below.end()].rstrip(), text[below.end() :]
        text = f"{before}\n\n{block}\n\n{after}".rstrip() + "\n"
    page.write_text(text, encoding="utf-8")


def section(name: str, text: str) -> str:
    """What stands between the markers of `name`. Raises ValueError where they are not there."""
    found = re.search(rf"<!-- {re.escape(name)} -->\n(.*?)\n<!-- /{re.escape(name)} -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no section {name!r}")
    return found[1]


def commit() -> str:
    """The commit that a figure was measured at."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = " and changes not committed" if git("status", "--porcelain") else ""
        return git("rev-parse", "--short", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
