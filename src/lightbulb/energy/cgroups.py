"""What Linux's control groups allow this process (cgroups(7)), in trees of version 2 and of version 1."""

from __future__ import annotations

from pathlib import Path

from lightbulb.core.files import text_of


def limits(root: Path, controller: str, file_v2: str, file_v1: str) -> list[tuple[Path, str]]:
    """(file, text) of this process's group and of all above it."""
    found = []
    for line in (text_of(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers
        folder = top / own.lstrip("/")
        for place in (folder, *(p for p in folder.parents if p.is_relative_to(top))):
            file = place / (file_v1 if controllers else file_v2)
            if text := text_of(file):
                found.append((file, text))
    return found


def quota_threads(root: Path) -> float | None:
    """The least CPU quota, in threads; None where there is none."""
    quotas = []
    for file, text in limits(root, "cpu", "cpu.max", "cpu.cfs_quota_us"):
        period = text_of(file.with_name("cpu.cfs_period_us"))
        quota, _, period = text.partition(" ") if file.name == "cpu.max" else (text, "", period or "")
        if quota.isdigit() and period.isdigit():  # else "max" or -1: no limit
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)
