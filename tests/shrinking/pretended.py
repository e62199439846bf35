"""Runs that are not performed: what a strategy asks for is answered at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from test_plan import BANKING, SMOLLM2, times_of

from lightbulb.core.artifact import Artifact
from lightbulb.core.events import Stream
from lightbulb.core.figures import Figure
from lightbulb.shrinking.drafts import make_plan
from lightbulb.shrinking.evaluation import StepEvaluator, check_teacher, student_steps
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.steps import teacher_steps
from lightbulb.shrinking.strategy import BoldFirst, search
from lightbulb.tasks.task import Example, Task


def with_space(plan: Plan, **more) -> Plan:
    return plan.model_copy(update={"space": plan.space.model_copy(update=more)})


PLAN = with_space(make_plan(times_of(2.0), SMOLLM2, BANKING, 3600), depths=(1, 2, 4), feed_forwards=())
NARROW = with_space(PLAN, feed_forwards=(0.5, 0.25))


TASK = Task("tickets", "generate", "json-match", (), tuple(Example(str(n), str(n % 50)) for n in range(1000)), ())


class Pretended:
    """An Execution whose scores come from `score(label)` and whose seconds from `seconds(step)`."""

    def __init__(self, score, seconds=lambda step: 0.0, items=1000):
        self.score, self.seconds, self.items = score, seconds, items
        self.made, self.performed, self.spent = {}, [], 0.0
        cost = SimpleNamespace(seconds=1.0, cpu_seconds=Figure(value=2.0, unit="s"))
        self.run = SimpleNamespace(cost=lambda artifact: cost, task=TASK)

    def perform(self, *steps, seconds=None):
        for s in steps:
            if s.label not in self.made:
                self.performed.append(s.label)
                self.spent += min(self.seconds(s), seconds if seconds is not None else 1e18)
                self.made[s.label] = Artifact(path=Path(s.label), kind="figures", key=s.label, made_by="test")
                if s.pass_ == "evaluate":
                    value = self.score(s.label.removesuffix("-validation"))
                    score = Figure(value=value, low=value - 0.01, high=value + 0.01, unit="share")
                    counts = dict.fromkeys(("items", "num_prompts", "prompt_tokens", "output_tokens"), self.items)
                    facts = {"score": score.model_dump(), **counts}
                    self.made[s.label] = self.made[s.label].model_copy(update={"facts": facts})
        return self.made[steps[-1].label]


class Patient:
    """All the time that students could want."""

    def __init__(self, plan=PLAN, allows=lambda layers, after: True):
        self.plan, self.allows = plan, allows

    def plan_for(self, layers):
        return self.plan

    def allows_student(self, layers, after_probe_of=None, probes=1):
        return self.allows(layers, after_probe_of)

    def allows_another_type(self, layers):
        return self.allows(layers, None)

    def allows_narrower(self, candidate):
        return self.allows(candidate.layers, None)

    def allows_recurrent(self, candidate):
        return self.allows(candidate.layers, None)

    def probe_seconds(self, layers):
        return 1e9

    training_seconds = recovery_seconds = probe_seconds

    def enough_seconds(self):
        return 1234.0

    def answer_seconds(self, layers):
        return 0.002 * layers


def choose(execution, plan=PLAN, keep=0.95, metric="accuracy", time=None, at_least=None, before=()):
    said: list[str] = []
    execution.perform(*teacher_steps(plan))
    execution.run.task = replace(execution.run.task, metric=metric)
    goal, time = Goal(keep=keep) if at_least is None else Goal(at_least=at_least), time or Patient(plan)
    floor = Floor.of(goal, metric)
    strategy = BoldFirst(plan.space, floor, check_teacher(execution, floor), time, said.append, before)
    return search(strategy, StepEvaluator(execution, student_steps(time, goal.runtime)), Stream()), said


def scores(**by_part):
    """Scores by the first part of a label that is in the table; 0.9 otherwise."""
    return lambda label: next((v for k, v in by_part.items() if k.replace("_", "-") in label.replace("_", "-")), 0.9)
