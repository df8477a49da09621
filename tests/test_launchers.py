"""Sweeps in other processes give the rows of a sweep in this one: joblib, submitit and Ray, really launched."""

from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from projects import ARGUMENTS, command, finished, make_project

from xaieval.results import read_rows

SWEEP = (
    "-m",
    *ARGUMENTS,
    "+method.mine._target_=toy.Mine",
    "method=[smoothgrad,random],[gradient]",
    "metric=[insertion,infidelity]",
    "metric.infidelity.samples=20,30",
)

LAUNCHERS = {
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit": ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10"),
    "ray": (
        "hydra/launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.include_dashboard=false",
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def serial(project):
    """Rows of the sweep in one process."""
    return rows_of(project, "serial")


def rows_of(project, name, *options):
    """Rows of the sweep, after its joint table was printed."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_worker_niceness": "0"}
    process = command(project, *SWEEP, f"hydra.sweep.dir={name}", f"store.path={name}/store", *options, **quiet)
    out = finished(process)
    assert out.count("pictures, toy:Net: 8 samples") == 1
    for job in range(4):
        assert (project / name / str(job) / "rows.parquet").exists()
    return read_rows([project / name / "rows.parquet"])


def comparable(rows):
    return rows.set_index("key").sort_index()[["sample", "method", "metric", "metric_parameters", "score"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_gives_the_serial_rows(project, serial, name):
    rows = rows_of(project, name, *LAUNCHERS[name])
    assert len(rows) == 8 * 4 * 3  # two budgets of infidelity beside insertion
    assert rows["error"].isna().all()
    pd.testing.assert_frame_equal(comparable(rows), comparable(serial), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_shards_by_a_launcher_are_one_run(project):
    run = (*ARGUMENTS, "method=[smoothgrad,random]", "metric=[insertion,infidelity]", "metric.infidelity.samples=20")
    shards = "shard=" + ",".join(f"{part}/8" for part in range(1, 9))
    out = finished(
        command(project, "-m", *run, shards, "store.path=eight", "hydra.sweep.dir=parts", *LAUNCHERS["joblib"])
    )
    assert "pictures, toy:Net: 8 samples" in out
    finished(command(project, *run, "store.path=one", "hydra.run.dir=whole"))
    parts, whole = (read_rows([project / name / "rows.parquet"]) for name in ("parts", "whole"))
    pd.testing.assert_frame_equal(comparable(parts), comparable(whole), atol=1e-5, rtol=1e-4)


def test_slurm_is_configuration():
    with initialize_config_module("xaieval.conf", version_base="1.3"):
        config = compose("config", overrides=["hydra/launcher=submitit_slurm"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")


def test_no_launcher_of_the_plugins_is_shadowed():
    folder = Path(str(files("xaieval.conf"))) / "hydra" / "launcher"
    assert not {"joblib.yaml", "ray.yaml", "submitit_local.yaml", "submitit_slurm.yaml"} & {
        file.name for file in folder.glob("*")
    }
