"""What is running, how fast, and for how much longer."""

import io
import re
import time

import pytest
import torch

from xaieval import progress as module
from xaieval.cost import Meter
from xaieval.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_the_line_says_what_is_running_the_rate_and_the_time_left(clock):
    progress, meter = Progress(stream=io.StringIO()), Meter(torch.device("cpu"))
    for method in ("sobol", "rise"):
        progress.expect(("explain", method), 4)
        progress.expect(("score", "insertion", method), 4)
    progress.watch(meter)
    with progress.step(("explain", "sobol"), 4):
        clock[0] += 8
        meter.spend(400)
        assert progress.line() == "0 %, explaining with sobol, 50.0 evaluations/s"  # no score was seen: nobody knows
    with progress.step(("score", "insertion", "sobol"), 4):
        clock[0] += 2
        meter.spend(100)
    with progress.step(("explain", "rise"), 4):
        clock[0] += 3
        assert progress.line() == "65 %, explaining with rise, 38.5 evaluations/s, 0:07 left"  # 8 - 3 and 2 like sobol


def test_evaluations_of_several_meters_add_up():
    progress = Progress()
    for count in (3, 5):
        meter = Meter(torch.device("cpu"))
        progress.watch(meter)
        meter.spend(count)
    assert progress.evaluations == 8


def test_a_forgotten_step_is_over():
    progress = Progress()
    progress.expect(("explain", "sobol"), 4)
    assert (progress.left, progress.part) == (None, 0)
    progress.forget(("explain", "sobol"), 4)
    assert (progress.left, progress.part) == (0, 1)


def test_a_step_that_takes_longer_takes_nothing_from_the_others(clock):
    progress = Progress()
    progress.expect(("explain", "sobol"), 3)
    with progress.step(("explain", "sobol"), 1):
        clock[0] += 2
    with progress.step(("explain", "sobol"), 1):
        clock[0] += 1
        assert progress.left == 3
        clock[0] += 9
        assert progress.left == 2


def test_without_a_terminal_there_are_plain_lines(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.05)
    stream = io.StringIO()
    progress = Progress(stream=stream, label="#3")
    progress.expect(("explain", "sobol"), 2)
    with progress, progress.step(("explain", "sobol"), 2):
        time.sleep(0.3)
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 3
    assert all(re.match(r"#3 0 %, explaining with sobol, 0.0 evaluations/s$", line) for line in lines[:-1])
    assert re.match(r"#3 0 evaluations in 0:00$", lines[-1])
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_there_is_a_bar():
    stream = Terminal()
    progress = Progress(stream=stream)
    progress.expect(("explain", "sobol"), 2)
    with progress, progress.step(("explain", "sobol"), 2):
        time.sleep(0.6)
    assert "explaining with sobol" in stream.getvalue()
    assert "\x1b" in stream.getvalue()


def test_hidden_or_with_nothing_to_do_it_shows_nothing():
    stream = io.StringIO()
    with Progress(shown=False, stream=stream) as progress:
        progress.say("a line")
    with Progress(stream=stream):
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3700, "1:01:40")])
def test_durations(seconds, text):
    assert module._duration(seconds) == text
