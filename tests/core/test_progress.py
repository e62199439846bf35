"""What a log and a terminal are told: never silent, never more than a line at once."""

from __future__ import annotations

import io
import subprocess
import sys
import threading

import pytest

from lightbulb.core import progress as module
from lightbulb.core import terminal as shown
from lightbulb.core.events import Message, Stream
from lightbulb.core.figures import Figure
from lightbulb.core.progress import Reporter, Silent, progress_for
from lightbulb.core.terminal import Bars, Lines, clock_text, terminal
from lightbulb.energy.meter import Meter


class Log:
    """Lines under a clock that the test moves; each is kept with its second."""

    def __init__(self, joules=None):
        self.now, self.seen = 1000.0, []
        lines = Lines(write=lambda text: self.seen.append((self.now, text)), clock=lambda: self.now)
        self.work = Reporter(Stream(lines), joules, clock=lambda: self.now, threads=False)

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            self.work.tick()

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.seen]


def estimated(value: float | None) -> Figure:
    ends = {} if value is None else {"low": value / 2, "high": value * 2}
    return Figure(value=value, unit="J", source="estimated", **ends)


def longest_silence(log: Log, begin: float) -> float:
    moments = [begin, *(second for second, _ in log.seen), log.now]
    return max(b - a for a, b in zip(moments, moments[1:], strict=False))


def test_never_silent_for_30_seconds_before_between_and_within_bars():
    log = Log(lambda: estimated(1234.0))
    begin = log.now
    with log.work.working("run"):
        log.run(45)  # planning: no bar was opened yet
        with log.work.working("teacher"):
            log.run(31)
            with log.work.bar("adapt", 100) as advance:
                log.run(50)  # the first report takes a while
                for done in range(100):
                    advance(done, f"loss 0.{done}")
                    log.run(7)
            log.run(100)  # an export that says nothing
        log.run(29)
    assert longest_silence(log, begin) <= 30
    assert all("\r" not in text and text.count("\n") == 1 and text.endswith("\n") for text in log.texts)
    assert log.texts[0] == "run: 20 s, ~1,230 J so far\n"


def test_a_line_says_step_share_time_left_and_joules():
    log = Log(lambda: estimated(50.0))
    with log.work.working("run"), log.work.working("teacher"), log.work.bar("adapt", 100) as advance:
        log.now += 10
        advance(1)
        log.now += 290
        advance(25, "loss 0.31")
        log.work.tick()
    assert log.texts[0] == "teacher: adapt: 5 min 0 s, 25% done, 15 min 0 s left, ~50.0 J so far, loss 0.31\n"


def test_what_a_resumed_run_found_done_is_no_pace():
    log = Log()
    with log.work.bar("adapt", 100) as advance:
        log.now += 1
        advance(80)
        log.now += 100
        advance(90)
        log.work.tick()
    assert "90% done, 1 min 40 s left" in log.texts[0]


def test_measured_joules_have_no_tilde_and_unknown_ones_are_left_out():
    for joules, told in (
        (lambda: Figure(value=5.0, unit="J"), ", 5.00 J so far"),
        (lambda: estimated(None), ""),
        (None, ""),
        (lambda: 1 / 0, ""),
    ):
        log = Log(joules)
        with log.work.working("run"):
            log.run(20)
        assert log.texts[0] == f"run: 20 s{told}\n"


def test_a_share_that_cannot_be_is_not_told():
    for total, done, told in ((0, 0, ""), (10, 12, ", 100% done"), (10, -1, ", 0% done")):
        log = Log()
        with log.work.bar("work", total) as advance:
            advance(done)
            log.run(20)
        assert log.texts[0] == f"work: 20 s{told}\n"


def test_a_label_of_any_text_stays_one_line_of_ascii():
    log = Log()
    with log.work.bar("caf\xe9 \r\n \x1b[31m [red] \udcff", 2) as advance:
        log.now += 10
        advance(1, "\u2028note\x07")
        log.run(20)
    assert log.texts[0] == "caf\\xe9 [31m [red] \\udcff: 20 s, 50% done, 20 s left, \\u2028note\n"


def test_short_work_is_not_told_and_failed_work_is_over():
    log = Log()
    with log.work.bar("short", 1):
        log.now += 1
    with pytest.raises(RuntimeError), log.work.working("fails"):
        log.now += 60
        raise RuntimeError
    log.run(100)
    assert log.texts == ["fails: 60 s\n"]


def test_a_log_that_nobody_reads_any_more_ends_no_work():
    lost: list[str] = []

    def broken(text):
        lost.append(text)
        raise BrokenPipeError

    seconds = iter(range(0, 1000, 30)).__next__
    work = Reporter(Stream(Lines(write=broken, clock=seconds)), clock=seconds, threads=False)
    with work.working("run"):
        work.tick()
    assert lost, "nothing was written, so nothing could fail"


def test_the_thread_lives_as_long_as_the_work(monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.005)
    monkeypatch.setattr(shown, "LINE_SECONDS", 0.0)
    said = threading.Event()
    work = Reporter(Stream(Lines(write=lambda text: said.set())))
    with work.working("outer"):
        with work.bar("inner", 1):
            pass
        said.clear()
        assert said.wait(10)
    for thread in threading.enumerate():
        if thread.name == "lightbulb-progress":
            thread.join(10)
            assert not thread.is_alive()


def test_a_log_is_lines_and_quiet_is_silent(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert [type(reader) for reader in terminal(quiet=False)] == [Lines]
    assert terminal(quiet=True) == () and isinstance(progress_for(None, True), Silent)
    monkeypatch.setattr(sys, "stderr", None)  # pythonw
    (lines,) = terminal(quiet=False)
    lines(Message(text="nobody reads this"))
    with Reporter(Stream(lines), threads=False, clock=iter(range(0, 1000, 30)).__next__).working("x"):
        pass


def test_joules_are_those_of_all_windows_so_far():
    seconds = [0.0]
    meter = Meter([], clock=lambda: seconds[0], cpu_clock=lambda: seconds[0], threads=1)
    assert meter.spent().value is None
    for _ in range(2):
        with meter.window("one"):
            seconds[0] += 10
    with meter.window("outer"), meter.window("inner"):
        seconds[0] += 10
        last = meter.spent()
    assert meter.spent().value == pytest.approx(last.value) == pytest.approx(3 * meter_joules(10))
    assert last.low < last.value < last.high and last.source == "estimated"


def meter_joules(seconds: float) -> float:
    from lightbulb.energy.estimate import estimate_joules

    return estimate_joules(seconds, seconds, 1).value


def test_bars_nest_and_show_what_is_innermost(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    bars = Bars()
    work = Reporter(Stream(bars), lambda: estimated(5.0), threads=False, clock=iter(range(1000)).__next__)
    with work.working("run [v1]"):
        live = bars._live
        with work.bar("[/v1]", 2) as advance:
            advance(1, "[/red]")
            seen = {t.description: t.visible for t in live.tasks}
            inner = live.tasks[-1]
        assert seen == {"run [v1]": False, "[/v1]": True}
        assert (inner.completed, inner.fields["joules"], inner.fields["note"]) == (1, "~5.00 J", "[/red]")
        assert [t.visible for t in live.tasks] == [True]
        with work.working("again"):
            pass
    assert bars._live is None


def test_the_command_says_something_where_stderr_is_no_terminal():
    code = (
        "import lightbulb.core.progress as p, lightbulb.core.terminal as t, time\n"
        "t.LINE_SECONDS, p.LOOK_SECONDS = 0.05, 0.01\n"
        "with p.waiting('reading'):\n    time.sleep(0.5)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stderr.startswith(b"reading: 0 s\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_clock_text(seconds, text):
    assert clock_text(seconds) == text
