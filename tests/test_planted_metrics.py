"""Metrics planted to fail in one way each, run on a real model with real methods, and caught by name."""

from dataclasses import dataclass
from typing import ClassVar, final

import pytest
import torch
from torch import Tensor

from xaieval.attributions.centre_blob import CentreBlob
from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.random import Random
from xaieval.attributions.random_coarse import RandomCoarse
from xaieval.attributions.sobol import Sobol
from xaieval.component import Method, Metric
from xaieval.config import load
from xaieval.datasets.planted import Planted
from xaieval.explicand import Explicand
from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.models import planted
from xaieval.reliability import reliabilities
from xaieval.settings import Reliability, Settings
from xaieval.trials import Run, run_trials


class _Planted(Metric):
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "none"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)


@final
@dataclass(frozen=True)
class Ignoring(_Planted):
    """The model's probability, whatever the map."""

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        return explicand.clean.of("probability")


@final
@dataclass(frozen=True)
class Noise(_Planted):
    """Numbers from a generator that goes on from call to call."""

    generator: ClassVar[torch.Generator] = torch.Generator().manual_seed(0)
    seed: int = 0

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        return torch.rand(explicand.count, generator=self.generator)


@final
@dataclass(frozen=True)
class Inverted(_Planted):
    """The share of the map outside of the object, declared as better when higher."""

    needs: ClassVar[tuple[str, ...]] = ("mask",)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        assert explicand.mask is not None
        size, outside = explicand.features(attribution).abs().flatten(1), ~explicand.mask.flatten(1)
        return (size * outside).sum(1) / size.sum(1)


@final
@dataclass(frozen=True)
class Sparsity(_Planted):
    """The share of the map's tenth of largest values."""

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        size = explicand.features(attribution).abs().flatten(1).sort(1, descending=True).values
        return size[:, : size.shape[1] // 10].sum(1) / size.sum(1)


METHODS: dict[str, Method] = {
    "gradient": Gradient(),
    "input_x_gradient": InputXGradient(),
    "integrated_gradients": IntegratedGradients(8),
    "occlusion": Occlusion(window=8, stride=4),
    "sobol": Sobol(grid=7, designs=4),
    "random": Random(),
    "random_coarse": RandomCoarse(),
    "edge_detector": EdgeDetector(),
    "centre_blob": CentreBlob(),
}
METRICS: dict[str, Metric] = {
    "ignoring": Ignoring(),
    "noise": Noise(),
    "inverted": Inverted(),
    "sparsity": Sparsity(),
    "relevance_rank": RelevanceRank(),
}
CHANGES = Reliability(samples=8, methods=3, evaluations=8, perturbations=1, iterations=1, seeds=1, removals=())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The reliability of all metrics on 24 planted images."""
    classifier, dataset = planted.load(batch_size=32), Planted(24)
    store = str(tmp_path_factory.mktemp("store"))
    settings = Settings(0, "predicted", "1/1", None, store, 1.0, CHANGES)
    trials = run_trials(
        Run(classifier, METHODS, METRICS, load(dataset, classifier), dataset.name, settings, shown=False)
    )
    (table,) = reliabilities(trials)
    return table


@pytest.mark.parametrize(
    ("metric", "cause"),
    [
        ("ignoring", "ignores the explanation"),
        ("noise", "noise"),
        ("inverted", "inverted"),
        ("sparsity", "sees values alone"),
    ],
)
def test_each_planted_metric_is_caught_by_name(found, metric, cause):
    (verdict,) = [verdict for verdict in found.verdicts if verdict.metric == metric]
    assert (verdict.belief, verdict.cause) == ("doubt", cause)
    assert f"✗ {metric}: do not rank by it, {cause}: " in found.text()


def test_a_metric_that_knows_the_truth_is_believed(found):
    (verdict,) = [verdict for verdict in found.verdicts if verdict.metric == "relevance_rank"]
    assert (verdict.belief, verdict.cause) == ("believe", "")
    assert verdict.sentence.startswith("of 5 methods 5 beat their own shuffled map, 5 beat random, ")


def test_fresh_numbers_are_not_repeated(found):
    (noise,) = [findings for findings in found.found if findings.evidence.metric == "noise"]
    # 5 methods x 8 samples without the samples' means are 32 free numbers: 0 +- 1 / sqrt 32, four times that.
    assert abs(noise.retest.correlation) < 4 * 32**-0.5
