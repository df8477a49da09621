"""The command as a user types it: compositions, verbs, files, and a sentence for everything that is wrong."""

import os
import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from projects import ARGUMENTS, make_project

from xaieval import app
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.config import ConfigError, build, component, components, default, names, plain
from xaieval.kept_configs import KeptConfig, keep_config, kept_configs
from xaieval.listing import first_sentence
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.max_sensitivity import MaxSensitivity
from xaieval.removal import Blur, Noise, NoisyLinear
from xaieval.results import read_rows
from xaieval.store import Store


def composed(*overrides):
    with initialize_config_module("xaieval.conf", version_base="1.3"):
        return plain(compose("config", overrides=list(overrides)))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's folder as the working directory; what the command changes in the process is put back."""
    monkeypatch.chdir(make_project(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("PYTHONPATH", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    for name in ("PYTHONPATH", "HYDRA_FULL_ERROR"):
        os.environ.pop(name, None)
    sys.modules.pop("toy", None)


@pytest.fixture
def xaieval(project, monkeypatch, capfd):
    """Runs the command; gives the exit status (0, or what was said), standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["xaieval", *arguments])
        status: object = 0
        try:
            app.main()
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capfd.readouterr()
        return status, out, err

    return run


def run_dirs(project):
    return sorted(path.parent for path in project.glob("runs/*/*/rows.parquet"))


# -- compositions --


def test_a_store_keeps_what_runs_were_composed_of(xaieval, project):
    words = [*ARGUMENTS, "method=[smoothgrad]", "method.smoothgrad.samples=3", "metric=sparseness", "dataset.limit=2"]
    assert xaieval(*words, "store.path=kept")[0] == 0
    (name,) = set(Store("kept").rows()["config_hash"])
    kept = kept_configs(Path("kept"))[name]
    assert shlex.split(kept.command) == ["xaieval", *words, "store.path=kept"]
    assert components(kept.values, "method") == {"smoothgrad": SmoothGrad(samples=3)}


def test_a_damaged_configuration_counts_as_missing(tmp_path):
    keep_config(tmp_path, "good", KeptConfig("xaieval", {"seed": 1}))
    (tmp_path / "configs" / "bad.json").write_text("{")
    (tmp_path / "configs" / "other.json").write_text('{"verdict": 1}')
    assert kept_configs(tmp_path) == {"good": KeptConfig("xaieval", {"seed": 1})}


def test_options_of_an_experiment_for_what_is_not_chosen_are_left_aside():
    values = composed("experiment=demo", "method=[sobol,random]", "metric=insertion")
    assert set(values["method"]) > set(components(values, "method")) == {"sobol", "random", "smoothgrad_squared"}
    assert components(values, "method")["sobol"] == Sobol(grid=7, designs=8)
    assert set(values["metric"]) > set(components(values, "metric")) == {"insertion"}


def test_alone_it_runs_the_promised_things():
    values = composed()
    assert {group: list(values[group]) for group in ("method", "metric", "model")} == {
        "method": ["gradient"],
        "metric": ["insertion"],
        "model": ["efficientnet_lite0"],
    }
    assert set(values["dataset"]) == {"photos", "limit"}
    assert values["store"] == {"path": "runs/store", "gigabytes": 10}


@pytest.mark.parametrize(
    ("overrides", "methods"),
    [
        (["method=sobol"], {"sobol": Sobol()}),
        (["method=[smoothgrad,sobol]"], {"smoothgrad": SmoothGrad(), "sobol": Sobol()}),
        (["method=smoothgrad", "method.smoothgrad.samples=7"], {"smoothgrad": SmoothGrad(samples=7)}),
        (["method=smoothgrad", "seed=5"], {"smoothgrad": SmoothGrad(seed=5)}),
        (["method=sobol", "removal=mean"], {"sobol": Sobol(removal="mean")}),
        (["method=sobol", "removal=blur", "removal.size=5"], {"sobol": Sobol(removal=Blur(size=5))}),
        (["method=sobol", "removal=noise", "seed=2"], {"sobol": Sobol(removal=Noise(seed=2), seed=2)}),
        (["method=sobol", "removal=noisy_linear", "seed=2"], {"sobol": Sobol(removal=NoisyLinear(seed=2), seed=2)}),
    ],
)
def test_compositions(overrides, methods):
    assert components(composed(*overrides), "method") == methods


def test_lists_become_tuples():
    assert build({"a": [1, [2, 3]]}, "here") == {"a": (1, (2, 3))}


def test_a_wrapped_method_may_be_anything():
    node = {
        "_target_": "xaieval.attributions.smoothgrad.SmoothGrad",
        "method": {"_target_": "captum.attr.Saliency", "abs": False},
    }
    assert str(component("method", node, "method.a").method) == "Saliency"


@pytest.mark.parametrize("name", names("removal"))
def test_removals_have_the_same_name(name):
    method = components(composed("method=sobol", f"removal={name}"), "method")["sobol"]
    assert method.removal in (name, *(kind() for kind in (Blur, Noise, NoisyLinear)))


@pytest.mark.parametrize("group", ["method", "metric"])
def test_defaults_are_those_of_the_classes(group):
    for name in names(group):
        found = default(group, name)
        preset = type(found).__module__.rpartition(".")[2] != name
        assert (found == type(found)()) != preset


def test_the_demo_has_the_promised_budgets():
    values = composed("experiment=demo")
    methods, metrics = components(values, "method"), components(values, "metric")
    assert methods["smoothgrad"] == SmoothGrad(samples=25, noise=0.15)
    assert methods["smoothgrad_squared"] == SmoothGrad(samples=25, noise=0.15, variant="squared")
    assert methods["integrated_gradients"].steps == 32
    assert methods["sobol"] == Sobol(grid=7, designs=8)
    assert (methods["rise"].grid, methods["rise"].samples) == (7, 500)
    assert metrics["infidelity"] == Infidelity(samples=100, grid=14, fraction=0.2)
    draws = {name: getattr(metrics["infidelity"], name) for name in ("samples", "grid", "fraction", "removal", "seed")}
    assert {name: getattr(metrics["mu_fidelity"], name) for name in draws} == draws
    assert [(metrics[name].grid, metrics[name].steps) for name in ("insertion", "deletion")] == [(14, 14)] * 2
    assert metrics["max_sensitivity"] == MaxSensitivity(radius=0.02, copies=4, budget=32)
    assert {"grad_cam", "normgrad", "occlusion", "gradient", "input_x_gradient"} < set(methods)
    assert {name for name, method in methods.items() if method.sentinel} >= {
        "random", "random_coarse", "edge_detector", "centre_blob",
    }  # fmt: skip
    faithfulness, localization = (
        ("infidelity", "mu_fidelity", "insertion", "deletion"),
        ("pointing_game", "relevance_mass"),
    )
    randomization = ("class_sensitivity", "mprt")
    assert set(metrics) == {
        *faithfulness, *localization, *randomization, "relevance_rank", "max_sensitivity", "sparseness",
    }  # fmt: skip


# -- runs --


def test_a_run_prints_and_writes_its_table(project, xaieval):
    status, out, err = xaieval(*ARGUMENTS, "method=[gradient,random]", "metric=[insertion,relevance_rank]")
    assert status == 0
    assert re.search(r"^pictures, toy:Net: 8 samples", out, re.M)
    assert re.search(r"^gradient +\.\d", out, re.M)
    assert re.search(r"^random +\.\d", out, re.M)
    assert "\x1b" not in out + err
    assert "toy:Net on pictures: 8 samples x 2 methods x 2 metrics\n" in err
    (folder,) = run_dirs(project)
    assert f"In {folder.relative_to(project)}: rows.parquet" in out
    for name in ("leaderboard.md", "leaderboard.csv", "differences.md", "differences.csv", "profiles.csv"):
        assert name in out
        assert "insertion" in (folder / name).read_text()
    assert not list(folder.glob("pairs.*"))  # there is one method and a sentinel
    rows = read_rows([folder / "rows.parquet"])
    assert len(rows) == 8 * 2 * 2
    assert set(rows.loc[rows["reason"] == "no mask", "sample"]) == {"p0.png", "p2.png", "p4.png", "p6.png"}
    pd.testing.assert_frame_equal(Store("runs/store").rows(), rows)


def test_the_table_has_the_requested_cells_only(project, xaieval):
    xaieval(*ARGUMENTS, "method=[gradient,random]")
    _, out, err = xaieval(*ARGUMENTS, "method=random", "dataset.limit=3")
    assert "3 of 3 cells are in the store" in err
    assert "gradient" not in out
    assert len(read_rows([run_dirs(project)[-1] / "rows.parquet"])) == 3


def test_strangers_are_methods(project, xaieval):
    status, _, err = xaieval(
        *ARGUMENTS, "+method.mine._target_=toy.Mine", "+method.mine.scale=2", "+method.function._target_=toy.saliency",
        "+method.saliency._target_=captum.attr.Saliency", "+method.saliency.abs=true",
    )  # fmt: skip
    assert (status, err.count("Error")) == (0, 0)
    rows = read_rows([run_dirs(project)[0] / "rows.parquet"])
    scores = rows.pivot(index="sample", columns="method", values="score")
    assert (scores["mine"] - scores["gradient"]).abs().max() < 1e-6
    assert (scores["function"] - scores["saliency"]).abs().max() < 1e-6


def test_several_models_and_datasets_in_one_run(project, xaieval):
    status, _, _ = xaieval(
        *ARGUMENTS, "+model.other=${model.callable}", "+dataset.again=${dataset.folder}", "store.path=null",
        "dataset.limit=2",
    )  # fmt: skip
    assert status == 0
    assert not (project / "runs" / "store").exists()


def test_eight_shards_are_one_run(project, xaieval):
    whole = [*ARGUMENTS, "method=[smoothgrad,random]", "metric=[insertion,infidelity]", "method.smoothgrad.samples=3"]
    for shard in range(1, 9):
        status, _, _ = xaieval(*whole, f"shard={shard}/8", "store.path=shards")
        assert status == 0
    xaieval(*whole, "store.path=one")
    index = ["sample", "method", "metric"]
    parts, one = (Store(path).rows().set_index(index).sort_index() for path in ("shards", "one"))
    assert parts["key"].equals(one["key"])
    pd.testing.assert_series_equal(parts["score"], one["score"], atol=1e-5, rtol=1e-4)


def test_an_empty_shard_is_no_error(xaieval):
    status, out, _ = xaieval(*ARGUMENTS, "dataset.limit=2", "shard=3/3")
    assert status == 0
    assert "holds no samples" in out


# -- sweeps --


def test_a_sweep_ends_with_one_table(project, xaieval):
    status, out, _ = xaieval(*ARGUMENTS, "-m", "method=[gradient,random],[smoothgrad]", "metric=insertion,deletion")
    assert status == 0
    assert out.count("pictures, toy:Net: 8 samples") == 1
    for name in ("gradient", "random", "smoothgrad", "insertion", "deletion"):
        assert name in out[out.index("pictures, toy:Net") :]
    rows = read_rows(list(project.glob("runs/*/*/rows.parquet")))
    assert len(rows) == 8 * 3 * 2
    assert len(list(project.glob("runs/*/*/[0-3]/rows.parquet"))) == 4


def test_a_sweep_over_a_parameter(project, xaieval):
    status, out, _ = xaieval(
        "-m", *ARGUMENTS, "method=[smoothgrad,random]", "method.smoothgrad.samples=2,3", "dataset.limit=2"
    )
    assert status == 0
    assert "smoothgrad samples=2" in out
    assert "smoothgrad samples=3" in out
    assert len(read_rows(list(project.glob("runs/*/*/rows.parquet")))) == 2 * 3


def test_an_old_sweep_in_the_folder_does_not_count(project, xaieval):
    sweep = (*ARGUMENTS, "dataset.limit=2", "hydra.sweep.dir=here")
    xaieval("-m", *sweep, "method=gradient,random,centre_blob")
    old = project / "here" / "2" / "rows.parquet"
    os.utime(old, (old.stat().st_atime, old.stat().st_mtime - 60))
    xaieval("-m", *sweep, "method=gradient,random")
    assert set(read_rows([project / "here" / "rows.parquet"])["method"]) == {"gradient", "random"}


def test_a_failing_job_keeps_the_others(project, xaieval):
    status, out, _ = xaieval("-m", *ARGUMENTS, "+method.other._target_=toy.Failing,toy.Mine", "dataset.limit=2")
    assert "2 of 4 cells failed" in status
    assert "ArithmeticError: no such map" in status
    assert re.search(r"^pictures, toy:Net: 2 samples", out, re.M)
    rows = read_rows(list(project.glob("runs/*/*/rows.parquet")))
    assert rows["error"].notna().sum() == 2
    assert rows["score"].notna().sum() == 4


def test_a_job_that_cannot_start_keeps_the_others(project, xaieval):
    status, out, _ = xaieval("-m", *ARGUMENTS, "model.callable.function=toy:Nix,toy:Net", "dataset.limit=2")
    assert "toy' has no function 'Nix'" in status
    assert re.search(r"^pictures, toy:Net: 2 samples", out, re.M)


# -- verbs --


def test_list(xaieval):
    status, out, _ = xaieval("list")
    assert status == 0
    for line in (
        r"^  sobol +importance +The part of the score's variance",
        r"^  random +sentinel +",
        r"^  insertion +↑ faithfulness +Area below",
        r"^  infidelity +↓ faithfulness +",
        r"^  folder +The pictures of a folder",
        r"^  resnet18 +",
        r"^  blur +A Gaussian blur",
        r"^  demo +Small budgets",
    ):
        assert re.search(line, out, re.M), line
    status, out, _ = xaieval("list", "metric")
    assert len(out.splitlines()) == len(names("metric"))


def test_list_of_methods_tells_what_a_model_supports(xaieval):
    status, out, _ = xaieval("list", "method", *ARGUMENTS)
    assert status == 0
    lines = dict(re.findall(r"^  (\w+) +(.*)", out, re.M))
    assert list(lines) == names("method")
    assert lines["integrated_gradients"] == "yes"
    assert lines["guided_backprop"].startswith("no   unsupported layers: toy:Net calls no relu, relu6 or hardtanh")
    status, _, _ = xaieval("list", "metric", *ARGUMENTS)
    assert "list takes KEY=VALUE only for methods" in status


def test_leaderboard_of_a_store_and_of_a_run(project, xaieval):
    xaieval(*ARGUMENTS, "method=[gradient,random]", "store.path=kept")
    status, out, _ = xaieval("leaderboard", "store.path=kept", "--differences")
    assert status == 0
    assert "pictures, toy:Net" in out
    assert "differences to random" in out
    (run,) = run_dirs(project)
    status, again, _ = xaieval("leaderboard", str(run))
    assert status == 0
    assert again == out[: len(again)]


def test_pairs_and_ranks(project, xaieval):
    status, out, _ = xaieval(*ARGUMENTS, "method=[gradient,integrated_gradients,random]")
    assert status == 0
    (run,) = run_dirs(project)
    for name in ("pairs.md", "pairs.csv", "ranks.md", "ranks.csv"):
        assert name in out
        assert "insertion" in (run / name).read_text()
    status, out, _ = xaieval("leaderboard", str(run), "--pairs", "--ranks")
    assert status == 0
    assert re.search(r"^(gradient - integrated_gradients|integrated_gradients - gradient) ", out, re.M)
    assert re.search(r"^gradient +[12]\.\d\d: [12]", out, re.M)
    _, out, _ = xaieval("leaderboard", str(run), "--differences")
    assert "every pair" not in out
    xaieval(*ARGUMENTS, "store.path=kept")
    status, out, _ = xaieval("leaderboard", "store.path=kept", "--pairs")
    assert status == 0
    assert out.endswith("--pairs: there is nothing to compare\n")


def test_check(xaieval):
    status, out, _ = xaieval("check", "toy:Mine")
    assert status == 0
    assert re.search(r"^(\d+) of \1 laws hold", out, re.M)
    status, out, _ = xaieval("check", "toy:Failing")
    assert "toy:Failing breaks laws" in status
    assert "no such map" in out


def test_first_sentences():
    assert first_sentence("As in Böhle et al. (2021), `a.b`. More.\n\nArgs") == "As in Böhle et al. (2021), `a.b`."


def test_help(xaieval):
    status, out, _ = xaieval("--help")
    assert status == 0
    assert "xaieval experiment=demo" in out


# -- what is wrong --


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("method=sobbol", "there is no method 'sobbol'; did you mean sobol?; there are "),
        ("metric=nothing", "there is no metric 'nothing'; there are accumulated_prediction_sensitivity, acu, aopc"),
        ("experiment=dem", "there is no experiment 'dem'; did you mean demo?"),
        ("removal=blurr", "there is no removal 'blurr'; did you mean blur?"),
        ("method.sobol.grid=7", "method.sobol.grid=7: the method sobol is not part of the run"),
        ("method=[gradient] method.sobol.grid=7", r"not part of the run (it has method=[gradient])"),
        ("method.sobbol.grid=7", "there is no method 'sobbol'; did you mean sobol?"),
        ("method=sobol method.sobol.gird=7", "method.sobol has no parameter 'gird'; did you mean grid?; it has grid"),
        ("method=smoothgrad method.smoothgrad.samples=abc", "method.smoothgrad does not take samples='abc'"),
        ("method.gradient.samples=7", "method.gradient has no parameter 'samples'; it has variant"),
        (
            "method=smoothgrad method.smoothgrad.method.steps=7",
            "method.smoothgrad.method has no parameter 'steps'; it has none",
        ),
        ("-m method=smoothgrad,sobol method.sobol.grid=7,8", "not every job of the sweep method=smoothgrad,sobol has"),
        ("sed=1", "there is no key 'sed'; did you mean seed?"),
        ("store.pat=x", "store has no parameter 'pat'; did you mean path?"),
        ("store=x", "store holds several keys, got store='x'"),
        ("method=a,b", "'method=[a,b]' takes them in one run"),
        ("method=[a", "cannot be read"),
        ("shard=9/8", "shard must be k/n"),
        ("dataset.limit=0", "dataset.limit must be a number of samples, at least 1"),
        ("seed=x", "seed must be an integer, got 'x'"),
        ("reliability.samples=0", "reliability.samples must be an integer of at least 1, got 0"),
        ("reliability.seeds=1.5", "reliability.seeds must be an integer of at least 0, got 1.5"),
        ("reliability.removals=blur", "reliability.removals must be a list such as [mean, blur], [] for none"),
        ("reliability.removals=[blurr]", "there is no removal 'blurr'; did you mean blur?; there are zero, mean"),
        ("target=labels", "target must be one of predicted, label"),
        ("dataset.folder.path=nowhere", "expected a folder of pictures, but nowhere is not there"),
        ("dataset.folder.path=empty", "found nothing in empty"),
        ("dataset.folder.path=???", "dataset.folder.path has no default: add dataset.folder.path=VALUE"),
        ("+method.a._target_=toy.Nix", "method.a._target_=toy.Nix: toy has no 'Nix'"),
        ("+method.a._target_=nix.Nix", "there is no module 'nix'"),
        ("+method.a._target_=broken.Nix", "importing broken.Nix failed with ZeroDivisionError"),
        ("+method.a._target_=toy.Mine +method.a.scal=2", "method.a has no parameter 'scal'; did you mean scale?"),
        ("+method.a.samples=2", "method.a has no _target_"),
        ("+metric.a._target_=toy.Mine", "metric.a: toy.Mine gives a Mine, expected a xaieval.component.Metric"),
        ("method=sobol method.sobol.order=sum", "order must be one of total, first, got 'sum'"),
        ("store.path=pictures/p0.png", "The store 'pictures/p0.png' cannot be written"),
        ("model.callable.function=toy:Nix", "the module 'toy' has no function 'Nix'"),
        ("model.callable.function=toy:Pair", "returned a tuple, expected logits"),
        ("~method.gradient", "no method is chosen: add method=NAME"),
        ("precision=half", "precision must be one of float32"),
        ("batch_size=0", "batch_size must be"),
        ("hydra/launcher=jolib", "there is no hydra/launcher 'jolib'; did you mean joblib?; there are basic"),
        ("leaderbord", "there is no verb 'leaderbord'; did you mean leaderboard?"),
        ("leaderboard store.path=nowhere", "there is no store at nowhere"),
        ("leaderboard nowhere", "there are no rows at nowhere"),
        ("leaderboard --diff", "knows the flags --differences, --pairs, --ranks, got --diff"),
        ("list methods", "there is no group 'methods'; did you mean method?"),
        ("check", "check what?"),
        ("check toy", "check takes MODULE:NAME"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(project, xaieval, arguments, sentence):
    (project / "empty").mkdir()
    (project / "broken.py").write_text("1 / 0\n")
    words = arguments.split()
    run = not words[0].isalpha()
    status, out, err = xaieval(*(ARGUMENTS if run else ()), *words)
    assert isinstance(status, str), f"it ended well: {out}"
    assert sentence in status
    assert "Traceback" not in err + status
    assert len(status.splitlines()) == 1


def test_all_of_it_is_shown_on_request(xaieval, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError):
        xaieval(*ARGUMENTS, "shard=1/1", "+method.a.samples=2")


def test_bad_pictures_lose_their_own_cells(project, xaieval):
    (project / "pictures" / "labels.csv").unlink()
    for mask in project.glob("pictures/m*"):
        mask.unlink()
    (project / "pictures" / "zero.png").touch()
    (project / "pictures" / "text.jpg").write_text("no picture")
    status, _, _ = xaieval(*ARGUMENTS)
    assert "2 of 10 cells failed, the others are finished and kept" in status
    assert "zero.png is empty (0 bytes)" in status
    assert "text.jpg cannot be read as a picture" in status
    assert len(Store("runs/store").rows()) == 8


def test_a_failing_method_ends_the_command_badly(xaieval):
    status, out, _ = xaieval(*ARGUMENTS, "+method.bad._target_=toy.Failing")
    assert "8 of 16 cells failed" in status
    assert "bad, 8 cells: ArithmeticError: no such map" in status
    assert re.search(r"^gradient +\.\d", out, re.M)


def test_a_damaged_part_is_computed_again(project, xaieval):
    xaieval(*ARGUMENTS)
    (part,) = project.glob("runs/store/parts/*.parquet")
    part.write_bytes(part.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="damaged"):
        status, _, err = xaieval(*ARGUMENTS)
    assert status == 0
    assert "in the store" not in err
