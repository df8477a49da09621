"""Killed at any moment, the same command goes on: nothing is lost, nothing is doubled."""

import random
import signal
import time

import pandas as pd
import pytest
from projects import ARGUMENTS, command, finished, make_project

from xaieval.results import read_rows
from xaieval.store import Store

RUN = (
    *ARGUMENTS,
    "method=[gradient,smoothgrad,sobol,random,grad_cam]",
    "method.smoothgrad.samples=6",
    "method.sobol.grid=3",
    "method.sobol.designs=2",
    "metric=[infidelity,insertion,deletion,relevance_rank]",
    "metric.infidelity.samples=20",
    "target=label",  # asks how many classes there are
)
CELLS = 8 * 5 * 4


def comparable(rows):
    return rows.set_index(["sample", "method", "metric"]).sort_index()[["key", "score", "reason", "units", "target"]]


@pytest.mark.slow
def test_kill_at_any_moment(tmp_path):
    project, log = make_project(tmp_path), tmp_path / "forwards"
    finished(command(project, *RUN, "store.path=undisturbed", "hydra.run.dir=undisturbed_run", FORWARD_LOG=str(log)))
    whole = calls(log)
    draw, known = random.Random(0), pd.DataFrame()
    for _ in range(5):
        log.unlink(missing_ok=True)
        process = command(project, *RUN, "store.path=disturbed", FORWARD_SECONDS=".05", FORWARD_LOG=str(log))
        while process.poll() is None and calls(log) == 0:
            time.sleep(0.01)  # until the model is called for the first time
        time.sleep(draw.uniform(0.2, 2.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        known = Store(tmp_path / "disturbed").rows()
        assert known["key"].is_unique
        assert known["error"].isna().all()
    assert 0 < len(known) < CELLS

    log.unlink()
    finished(command(project, *RUN, "store.path=disturbed", FORWARD_LOG=str(log)))
    assert 0 < calls(log) < whole
    stored = Store(tmp_path / "disturbed").rows()
    assert len(stored) == CELLS
    expected = read_rows([tmp_path / "undisturbed_run" / "rows.parquet"])
    pd.testing.assert_frame_equal(comparable(stored), comparable(expected), atol=1e-5, rtol=1e-4)

    log.unlink(missing_ok=True)
    finished(command(project, *RUN, "store.path=disturbed", FORWARD_LOG=str(log)))
    assert calls(log) == 0

    added = [argument.replace("random,", "random,centre_blob,") for argument in RUN]
    finished(command(project, *added, "store.path=disturbed", FORWARD_LOG=str(log)))
    assert calls(log) == 8 * 2 * 13  # the inner points of its two curves


def calls(log):
    """Inputs that went through the model."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0
