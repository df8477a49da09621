"""The cells of a run under other conditions: what is run there, what stays the same, and that nothing is run twice."""

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xaieval import perturbed, verbs
from xaieval.attributions.centre_blob import CentreBlob
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.greedy_insertion import GreedyInsertion
from xaieval.attributions.ground_truth import GroundTruth
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.permuted import Permuted
from xaieval.attributions.random import Random
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.benchmark import Benchmark
from xaieval.component import Method, Metric
from xaieval.config import ConfigError, load
from xaieval.datasets.base import Samples
from xaieval.datasets.planted import Planted
from xaieval.evidence import evidences
from xaieval.metaquantus import consistency
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.metrics.sparseness import Sparseness
from xaieval.models import planted
from xaieval.removal import Blur, NoisyLinear
from xaieval.rows import SCHEMA, flat_parameters
from xaieval.settings import Reliability, Settings
from xaieval.store import Store
from xaieval.trials import COLUMNS, ORACLES, Run, read_trials, run_trials, write_trials

METHODS: dict[str, Method] = {
    "smooth": SmoothGrad(samples=6, seed=2),
    "ig": IntegratedGradients(4),
    "gradient": Gradient(),
    "greedy_insertion": GreedyInsertion(grid=4, steps=4),
    "random": Random(seed=3),
    "blob": CentreBlob(),
}
REAL, SEEDED = ["smooth", "ig", "gradient"], ["smooth"]
METRICS: dict[str, Metric] = {"deletion": Deletion(grid=4, steps=4), "sparseness": Sparseness()}
CHANGES = Reliability(samples=2, methods=1, evaluations=4, perturbations=2, iterations=1, seeds=1, removals=("noise",))
TRIALS = ["run", "shuffled", "seed", "draw", "removal", "oracle", *perturbed.WEIGHTS, *perturbed.INPUTS]
COUNT = 4


def prepared(folder, methods=METHODS, metrics=METRICS, count=COUNT, samples=None, changes=CHANGES, **settings):
    classifier, dataset = planted.load(batch_size=8), Planted(count)
    given = {"target": "predicted", "shard": "1/1", "limit": None, "store": str(folder), "gigabytes": 1.0, "seed": 0}
    return Run(
        classifier,
        methods,
        metrics,
        load(dataset, classifier) if samples is None else samples,
        dataset.name,
        Settings(**(given | settings), reliability=changes),
        shown=False,
    )


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    return run_trials(prepared(tmp_path_factory.mktemp("store")))


@pytest.fixture
def counted(monkeypatch):
    """The number of inputs of each call of any planted model."""
    calls, forward = [], planted.PlantedNetwork.forward

    def counting(self, inputs):
        calls.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(planted.PlantedNetwork, "forward", counting)
    return calls


def explicand(count, images=None, classifier=None, target=None):
    """The first samples, bound outside of a run."""
    classifier = classifier or planted.load(batch_size=8)
    samples = load(Planted(COUNT), planted.load())[:count]
    images = torch.stack([sample.input for sample in samples]) if images is None else images
    masks = torch.stack([torch.zeros(0) if sample.mask is None else sample.mask for sample in samples])
    return classifier.explicand(images, target, [sample.id for sample in samples], mask=masks)


def scores(trials, trial, variant, method, metric):
    rows = trials[(trials["trial"] == trial) & (trials["variant"] == variant)]
    return rows[(rows["method"] == method) & (rows["metric"] == metric)]["score"].to_numpy()


def close(found, expected):
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


# -- which cells


def test_one_table_holds_all_trials_under_the_names_of_the_run(trials):
    assert list(trials.columns) == [*SCHEMA.names, *COLUMNS]
    assert list(dict.fromkeys(trials["trial"])) == TRIALS
    assert trials["error"].isna().all()
    assert set(trials["model"]) == {"planted"}
    found = dict(list(trials.groupby("trial")))
    methods = {trial: list(dict.fromkeys(rows["method"])) for trial, rows in found.items()}
    assert methods["run"] == list(METHODS)
    assert methods["shuffled"] == REAL
    assert methods["seed"] == SEEDED
    assert methods["draw"] == methods["removal"] == REAL  # no measure reads what knows nothing there
    assert methods["oracle"] == list(ORACLES)
    assert methods["weights_noise"] == methods["inputs_disruption"] == ["ig", ""]  # smooth takes 6, and one is wanted
    metrics = {trial: set(rows["metric"]) for trial, rows in found.items()}
    assert metrics["draw"] == metrics["removal"] == {"deletion"}
    assert metrics["weights_disruption"] == {*METRICS, "prediction_kept"}
    assert {trial: rows["sample"].nunique() for trial, rows in found.items()} == dict.fromkeys(TRIALS, 2) | {
        "run": 4, "shuffled": 4,
    }  # fmt: skip
    variants = {trial: list(dict.fromkeys(rows["variant"])) for trial, rows in found.items()}
    assert [variants[trial] for trial in TRIALS] == [[""], [""], ["1"], ["1"], ["noise"], [""], *[["0", "1"]] * 4]
    assert not trials.duplicated([*COLUMNS, "method", "metric", "sample"]).any()


def test_trials_leave_the_rows_of_the_run_alone(tmp_path):
    run = prepared(tmp_path)
    trials = run_trials(run)
    alone = Benchmark(run.classifier, METHODS, METRICS, "planted").run(run.samples).rows
    pd.testing.assert_series_equal(trials[trials["trial"] == "run"]["score"], alone["score"], rtol=1e-5)
    assert set(Store(tmp_path).rows()["key"]) == set(trials[trials["trial"] == "run"]["key"])


def test_what_there_is_too_little_of_is_left_out(tmp_path):
    changes = replace(CHANGES, perturbations=0, seeds=0, removals=(), samples=99)
    trials = run_trials(prepared(tmp_path, {"ig": METHODS["ig"]}, {"sparseness": Sparseness()}, changes=changes))
    assert list(dict.fromkeys(trials["trial"])) == ["run", "shuffled", "oracle"]
    assert set(trials["sample"].value_counts()) == {1 + 1 + len(ORACLES)}
    costly = replace(CHANGES, evaluations=3)
    trials = run_trials(prepared(tmp_path, {"ig": METHODS["ig"]}, {"sparseness": Sparseness()}, changes=costly))
    changed = trials[trials["trial"].isin([*perturbed.WEIGHTS, *perturbed.INPUTS])]
    assert set(changed["metric"]) == {"prediction_kept"}
    (found,) = evidences(trials)
    assert consistency(found).reason == "skipped: cost"


def test_the_first_samples_are_those_of_the_run(tmp_path):
    changes = replace(CHANGES, perturbations=1, removals=())
    trials = run_trials(prepared(tmp_path, count=9, shard="2/2", changes=changes))
    for trial, rows in trials.groupby("trial"):
        names = [f"planted_0_{number}" for number in (1, 3, 5, 7)]
        assert list(dict.fromkeys(rows["sample"])) == (names if trial in ("run", "shuffled") else names[:2])


# -- what is computed


def test_shuffled_maps_are_the_methods_own(trials):
    bound = explicand(COUNT)
    values = Permuted(IntegratedGradients(4))(bound)
    close(scores(trials, "shuffled", "", "ig", "deletion"), METRICS["deletion"](bound, values))
    close(scores(trials, "shuffled", "", "ig", "sparseness"), Sparseness()(bound, IntegratedGradients(4)(bound)))


def test_seeds_draws_and_removals_change_nothing_else(trials):
    bound = explicand(2)
    own = SmoothGrad(samples=6, seed=2)(bound)
    other = SmoothGrad(samples=6, seed=3)(bound)
    close(scores(trials, "seed", "1", "smooth", "sparseness"), Sparseness()(bound, other))
    assert not torch.allclose(Sparseness()(bound, own), Sparseness()(bound, other))
    close(scores(trials, "draw", "1", "smooth", "deletion"), Deletion(grid=4, steps=4, seed=1)(bound, own))
    removed = Deletion(grid=4, steps=4, removal="noise")(bound, own)
    close(scores(trials, "removal", "noise", "smooth", "deletion"), removed)
    assert not np.allclose(removed, scores(trials, "run", "", "smooth", "deletion")[:2])


def test_seeds_inside_change_and_those_of_removals_stay(tmp_path):
    methods: dict[str, Method] = {
        "two": SmoothGrad(samples=2, seed=5, method=SmoothGrad(samples=2, seed=8)),
        "one": IntegratedGradients(2, removal=NoisyLinear(seed=7)),
    }
    metrics: dict[str, Metric] = {
        "noisy": Deletion(grid=2, steps=2, removal=NoisyLinear(seed=7)),
        "blurred": Deletion(grid=2, steps=2, removal=Blur()),
    }
    changes = replace(CHANGES, seeds=2, perturbations=0, removals=("blur", "noisy_linear", "blur"))
    trials = run_trials(prepared(tmp_path, methods, metrics, 1, changes=changes))
    found = dict(list(trials.groupby(["trial", "variant"])))
    for number in ("1", "2"):
        assert set(found["seed", number]["method"]) == {"two"}
        values = flat_parameters(found["seed", number]["method_parameters"].iloc[0])
        assert (values["seed"], values["method.seed"]) == (5 + int(number), 8 + int(number))
        parameters = found["draw", number].drop_duplicates("metric").set_index("metric")["metric_parameters"]
        values = flat_parameters(parameters["noisy"])
        assert (values["seed"], values["removal.seed"]) == (int(number), 7)
    assert set(found["removal", "blur"]["metric"]) == {"noisy"}  # the other one blurs already
    assert set(found["removal", "noisy_linear"]["metric"]) == {"noisy", "blurred"}  # one with the seed 0


def test_a_metric_that_refuses_a_removal_is_left_out(tmp_path):
    class Fixed(Deletion):
        def __post_init__(self):
            if self.removal != "zero":
                raise ValueError("black only")

    metrics: dict[str, Metric] = {"fixed": Fixed(grid=2, steps=2), "free": Deletion(grid=2, steps=2)}
    trials = run_trials(prepared(tmp_path, {"ig": METHODS["ig"]}, metrics, 1))
    assert set(trials[trials["trial"] == "removal"]["metric"]) == {"free"}


def test_oracles_are_the_runs_own_where_it_has_them(trials):
    bound = explicand(2)
    own, masks = GreedyInsertion(grid=4, steps=4)(bound), GroundTruth()(bound)
    close(scores(trials, "oracle", "", "greedy_insertion", "deletion"), METRICS["deletion"](bound, own))
    close(scores(trials, "oracle", "", "ground_truth", "deletion"), METRICS["deletion"](bound, masks))
    parameters = trials[trials["method"] == "greedy_deletion"]["method_parameters"].iloc[0]
    assert flat_parameters(parameters)["removal"] == "zero"


def test_ground_truth_needs_a_mask(tmp_path):
    drawn = load(Planted(2), planted.load())
    samples = [drawn[0], replace(drawn[1], mask=None)]
    changes = replace(CHANGES, perturbations=0, removals=(), seeds=0)
    metrics = {"sparseness": Sparseness(), "rank": RelevanceRank()}
    trials = run_trials(prepared(tmp_path, {"ig": METHODS["ig"]}, metrics, samples=samples, changes=changes))
    bounds = trials[trials["method"] == "ground_truth"]
    assert bounds["reason"].fillna("").tolist() == ["", "", "no mask", "no mask"]
    assert trials["error"].isna().all()


@pytest.mark.parametrize("trial", perturbed.WEIGHTS)
def test_perturbed_models_are_explained_for_the_class_predicted_before(trials, trial):
    target = explicand(2).target
    models = perturbed.classifiers(planted.load(batch_size=8), trial, 2, 0)
    for number, model in enumerate(models):
        bound = explicand(2, classifier=model, target=target)
        expected = METRICS["deletion"](bound, IntegratedGradients(4)(bound))
        close(scores(trials, trial, str(number), "ig", "deletion"), expected)
        kept = (bound.logits.argmax(1) == target).float()
        close(scores(trials, trial, str(number), "", "prediction_kept"), kept)


@pytest.mark.parametrize("trial", perturbed.INPUTS)
def test_perturbed_inputs_are_explained_for_the_class_predicted_before(trials, trial):
    target = explicand(2).target
    drawn = load(Planted(COUNT), planted.load())[:2]
    assert isinstance(drawn, Samples)
    for number, samples in enumerate(perturbed.samples(drawn, trial, 2, 0)):
        bound = explicand(2, torch.stack([samples[0].input, samples[1].input]), target=target)
        expected = METRICS["deletion"](bound, IntegratedGradients(4)(bound))
        close(scores(trials, trial, str(number), "ig", "deletion"), expected)
        kept = (bound.logits.argmax(1) == target).float()
        close(scores(trials, trial, str(number), "", "prediction_kept"), kept)
    if trial == "inputs_disruption":
        assert (bound.logits.argmax(1) != target).any()


# -- what is not computed again


def test_maps_and_clean_scores_are_those_of_the_run(trials):
    paid = trials.groupby("trial")["paid_forwards"].sum()
    curves = (4 - 1) * 2  # the inner points for two samples
    assert paid["draw"] == len(REAL) * curves
    assert paid["removal"] == len(REAL) * curves + 2  # and the end where all is noise
    assert paid["shuffled"] == len(REAL) * 3 * COUNT  # curves alone: no map is made again
    rows = trials[(trials["trial"] == "shuffled") & (trials["method"] == "smooth")]
    assert set(rows["method_forwards"]) == {6}


def test_stopped_anywhere_it_goes_on_and_then_spends_nothing(tmp_path, counted, monkeypatch):
    whole = run_trials(prepared(tmp_path / "whole"))
    total = sum(counted)
    counted.clear()
    compute = Benchmark.run
    left: list[bool] = []

    def stopped(self, *arguments):
        if not left.pop():
            raise KeyboardInterrupt
        return compute(self, *arguments)

    monkeypatch.setattr(Benchmark, "run", stopped)
    for steps in (2, 5, 9):
        left[:] = [False, *[True] * steps]
        with pytest.raises(KeyboardInterrupt):
            run_trials(prepared(tmp_path / "stopped"))
    monkeypatch.setattr(Benchmark, "run", compute)
    resumed = run_trials(prepared(tmp_path / "stopped"))
    assert total <= sum(counted) <= total + 4  # each process may ask one input for the number of classes
    counted.clear()
    again = run_trials(prepared(tmp_path / "stopped"))
    assert not counted
    pd.testing.assert_frame_equal(again, resumed)
    pd.testing.assert_series_equal(again["score"], whole["score"], rtol=1e-5)


def test_perturbed_models_are_made_one_at_a_time(tmp_path, monkeypatch):
    alive, most, make = set(), [0], perturbed._multiplied

    def watched(*arguments):
        module = make(*arguments)
        number = len(most)
        alive.add(number)
        weakref.finalize(module, alive.discard, number)
        most.append(len(alive))
        return module

    monkeypatch.setattr(perturbed, "_multiplied", watched)
    changes = replace(CHANGES, perturbations=3, samples=1)
    run_trials(prepared(tmp_path, {"ig": METHODS["ig"]}, {"sparseness": Sparseness()}, 1, changes=changes))
    assert len(most) == 1 + 2 * 3
    assert max(most) <= 2  # the next is made before the last is let go


# -- files and the verb


def test_trials_come_back_as_they_were_written(trials, tmp_path):
    write_trials(trials, tmp_path / "out")
    pd.testing.assert_frame_equal(read_trials(tmp_path / "out"), trials)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["trials.parquet"]


WORDS = (
    "model=planted",
    "dataset=planted",
    "dataset.planted.count=6",
    "batch_size=8",
    "method=[gradient,integrated_gradients,random]",
    "method.integrated_gradients.steps=4",
    "metric=[deletion,sparseness,max_sensitivity]",
    "metric.max_sensitivity.copies=2",
    "reliability.samples=2",
    "device=cpu",
)
SENTINELS = (*(word for word in WORDS if not word.startswith("method")), "method=[random,edge_detector]")


def test_the_command_a_third_time_spends_nothing(tmp_path, counted, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    verbs.run_verb("reliability", ("out", *WORDS))
    first, seen = capsys.readouterr(), sum(counted)
    assert seen > 0
    for words in (("out", *WORDS), ("out",), WORDS):
        counted.clear()
        verbs.run_verb("reliability", words)
        assert not counted
        assert capsys.readouterr().out.splitlines()[:-1] == first.out.splitlines()[:-1]  # the last names the folder
    assert "shuffled maps: planted on planted: 6 samples x 2 methods x 3 metrics" in first.err
    assert Path("runs/reliability/trials.parquet").is_file()
    assert len(Store("runs/store").rows()) == 6 * 3 * 3


def test_oracles_remove_what_the_metrics_remove(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ("method=gradient", "metric=sparseness", "reliability.samples=1", "reliability.perturbations=0")
    verbs.run_verb("reliability", (*WORDS[:4], *few, "removal=blur", "removal.sigma=3", "seed=4"))
    trials = read_trials(Path("runs/reliability"))
    values = trials[trials["trial"] == "oracle"].set_index("method")["method_parameters"].map(flat_parameters)
    assert values["greedy_insertion"]["removal.sigma"] == values["infidelity_optimal"]["removal.sigma"] == 3
    assert values["greedy_insertion"]["seed"] == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nowhere",), "there are no trials at nowhere/trials.parquet: run them first, as in"),
        (("--only", "a", *WORDS), "reliability knows no flags, got --only"),
        (("a", "b"), r"reliability writes to one folder, as in .*, got \['a', 'b'\]"),
        (SENTINELS, r"no method here knows the model \(random, edge_detector\)"),
        ((*WORDS, "model=[planted,resnet18]"), "this takes one model, got planted, resnet18"),
        ((*WORDS, "dataset=[planted,mosaic]"), "this takes one dataset, got planted, mosaic"),
        ((*WORDS, "store.path=null"), "name one with store.path=DIR"),
        ((*WORDS, "shard=7/8"), "this part of planted holds no samples, got shard=7/8"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        verbs.run_verb("reliability", words)
