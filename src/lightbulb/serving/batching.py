"""Questions of many at once: a queue with an end, and one thread that answers side by side what waits."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from lightbulb.core.errors import LightbulbError, RunFailure
from lightbulb.core.figures import Figure, total
from lightbulb.serving.service import Answer, Hearer, Prompt, Question, Service

BATCH_SECONDS = 0.02  # of work that may be one window: what comes meanwhile waits no longer
MOST = 2048  # questions of one window

Listener = Callable[[int, str], None]


class Busy(LightbulbError):
    """As many requests wait as may.

    Args:
        seconds: when to try again
    """

    def __init__(self, waiting: int, seconds: int):
        super().__init__(f"{waiting} requests wait already", hint=f"try again in {seconds} s")
        self.seconds = seconds


class Closed(LightbulbError):
    """The service is stopping."""


@dataclass(eq=False)
class Job:
    """One request: questions that are answered together or not at all. Its future is cancelled where nobody waits for
    it any more; then its questions are dropped, also while they are answered where a listener hears them."""

    questions: Sequence[Question]
    listener: Listener | None
    future: Future[list[Answer]] = field(default_factory=Future)
    answers: dict[int, Answer] = field(default_factory=dict)
    taken: int = 0  # questions that have left the queue

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):  # nobody waits for it
            self.future.set_exception(error)

    def succeed(self) -> None:
        with suppress(InvalidStateError):
            self.future.set_result([self.answers[n] for n in range(len(self.questions))])


@dataclass(frozen=True)
class Place:
    """One question of a job, as a prompt."""

    job: Job
    number: int
    prompt: Prompt

    def hear(self, piece: str) -> bool:
        """Passes a piece on; True where nobody waits for it."""
        if self.job.listener is not None and not self.job.future.done():
            self.job.listener(self.number, piece)
        return self.job.future.done()


class Batcher:
    """Answers jobs in the order in which they came, from a thread that owns the service. A long one goes behind the
    others when it has filled a window.

    Args:
        service: opened; only the thread uses it until `close` has returned
        most_waiting: requests that may wait

    Attributes:
        unheard: CPU seconds and joules of answers that nobody waited for any more; None where there was none
    """

    def __init__(self, service: Service, most_waiting: int):
        self._service, self._most_waiting = service, most_waiting
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._pace = BATCH_SECONDS  # seconds of a question, of the last window
        self.unheard: tuple[Figure, Figure] | None = None
        self._thread = threading.Thread(target=self._work, name="lightbulb-answers", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that wait to be answered."""
        return len(self._jobs)

    @property
    def alive(self) -> bool:
        """Whether what is submitted will be answered."""
        return self._thread.is_alive() and not self._closing

    def submit(self, questions: Sequence[Question], listener: Listener | None = None) -> Future[list[Answer]]:
        """Queues a request of one or more questions.

        Args:
            questions: what is asked
            listener: told (number of the question, next piece of its answer), from another thread

        Returns:
            Its answers, or why there are none. Cancelling it drops the request.

        Raises:
            Busy: too many wait
            Closed: the service is stopping
        """
        job = Job(questions, listener)
        with self._changed:
            if not self.alive:
                raise Closed("the service is stopping")
            if len(self._jobs) >= self._most_waiting:
                self._forget_the_gone()
            if (waiting := len(self._jobs)) >= self._most_waiting:
                raise Busy(waiting, max(1, min(60, math.ceil(waiting * self._pace))))
            self._jobs.append(job)
            self._changed.notify()
        job.future.add_done_callback(lambda _: self._ended(job))
        return job.future

    def close(self, seconds: float) -> None:
        """Takes nothing more, and waits for what is in flight.

        Raises:
            RunFailure: that took longer than `seconds`
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise RunFailure(f"the model did not end its answers within {seconds:g} s")

    def _work(self) -> None:
        while taken := self._next():
            ready: dict[object, list[Place]] = {}
            for job, number in taken:
                if place := self._prepared(job, number):
                    ready.setdefault(place.prompt.way, []).append(place)
            for places in ready.values():
                if wanted := [place for place in places if not place.job.future.done()]:
                    self._answer(wanted)

    def _next(self) -> list[tuple[Job, int]]:
        """The questions to be answered now; none when the service has stopped."""
        with self._changed:
            while True:
                self._forget_the_gone()
                if self._jobs:
                    return self._take()
                if self._closing:
                    return []
                self._changed.wait()

    def _take(self) -> list[tuple[Job, int]]:
        side_by_side = int(BATCH_SECONDS / self._pace) if self._service.answers else 1
        most = min(MOST, max(self._service.slots, side_by_side))
        way = self._way(self._jobs[0])
        turn = deque(job for job in self._jobs if self._way(job) == way)
        taken: list[tuple[Job, int]] = []
        while turn and len(taken) < most:
            job = turn.popleft()
            upto = min(len(job.questions), job.taken + most - len(taken))
            taken += [(job, number) for number in range(job.taken, upto)]
            job.taken = upto
        served = {job for job, _ in taken}
        left = [job for job in self._jobs if job.taken < len(job.questions)]
        self._jobs = deque(sorted(left, key=lambda job: job in served))  # stable: who was served goes behind
        return taken

    def _way(self, job: Job) -> object:
        """What jobs must share to be answered side by side; one that is streamed holds up none that is not."""
        first = job.questions[0]
        return None if self._service.answers else (first.max_tokens, first.options, job.listener is None)

    def _forget_the_gone(self) -> None:
        self._jobs = deque(job for job in self._jobs if not job.future.done())

    def _prepared(self, job: Job, number: int) -> Place | None:
        if job.future.done():
            return None
        try:
            return Place(job, number, self._service.prepare(job.questions[number]))
        except Exception as e:  # whatever a template or a tokenizer makes of a stranger's text
            job.fail(e)
            return None

    def _answer(self, places: list[Place]) -> None:
        """Side by side; where that fails each alone, so that no question harms its neighbours."""
        streamed = any(place.job.listener for place in places)
        hearers: list[Hearer] = [place.hear for place in places] if streamed else []
        began = time.perf_counter()
        try:
            made = self._service.answer([place.prompt for place in places], hearers)
        except Exception as e:  # a runtime may fail in any way; the service must not
            if len(places) == 1:
                places[0].job.fail(e)
            elif not hearers:
                for place in places:
                    self._answer([place])
            else:  # pieces that were heard cannot be taken back
                for place in places:
                    place.job.fail(e)
            return
        self._pace = (time.perf_counter() - began) / len(places)
        for place, answer in zip(places, made, strict=True):
            self._add(place.job, place.number, answer)

    def _add(self, job: Job, number: int, answer: Answer) -> None:
        with self._changed:
            if job.future.done():
                self._count_unheard([answer])
                return
            job.answers[number] = answer
            complete = len(job.answers) == len(job.questions)
        if complete:
            job.succeed()

    def _ended(self, job: Job) -> None:
        with self._changed:
            if job.future.cancelled() or job.future.exception() is not None:
                self._count_unheard(job.answers.values())

    def _count_unheard(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            cpu, joules = self.unheard or (None, None)
            how = "sum of the answers that nobody waited for any more"
            self.unheard = (
                total([answer.cpu_seconds, *filter(None, [cpu])], "s", how),
                total([answer.joules, *filter(None, [joules])], "J", how),
            )
