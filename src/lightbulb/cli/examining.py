"""The verb doctor."""

from __future__ import annotations

from lightbulb.cli.output import show


def doctor(json: bool = False) -> None:
    """What this machine can measure and run, how fast it reads memory, and what to type to make it better. Takes a few
    seconds; sends nothing anywhere.

    Args:
        json: one JSON object on stdout
    """
    from lightbulb.core.progress import waiting
    from lightbulb.doctor import examine
    from lightbulb.report.doctor import print_examination

    with waiting("measuring for a few seconds"):
        found = examine()
    show(found.model_dump(mode="json"), json, lambda console: print_examination(found, console))
