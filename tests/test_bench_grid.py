"""What the grid of `make bench` says of evaluations done and evaluations needed alone."""

import torch
from torch import nn

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.bench_grid import CAPTUM, METHODS, METRICS, alone_and_done, evaluations, samples
from xaieval.benchmark import Benchmark
from xaieval.classifier import Classifier
from xaieval.metrics.aopc import AOPC
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.mu_fidelity import MuFidelity


def test_the_grid_has_ten_methods_and_twelve_metrics():
    assert (len(METHODS), len(METRICS)) == (10, 12)
    assert set(CAPTUM) <= set(METHODS)


def test_what_is_shared_is_done_once():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=3), nn.Softplus(), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(1, 3, 224, 224))
    methods = {"gradient": Gradient(), "input_x_gradient": InputXGradient()}
    metrics = {
        "infidelity": Infidelity(samples=10, grid=4),
        "mu_fidelity": MuFidelity(samples=10, grid=4),
        "deletion": Deletion(grid=4, steps=4),
        "aopc": AOPC(grid=4, steps=4),
    }
    rows = Benchmark(Classifier(module, batch_size=8), methods, metrics, "noise").run(samples(2)).rows
    table, done = alone_and_done(rows)
    # For each of 2 images: 1 clean score, 1 gradient for both methods, 10 draws for both metrics of a response, 1 score
    # of nothing and for each method 3 steps between on one curve for both of its metrics.
    assert list(done) == [2 * (1 + 1 + 10 + 1 + 2 * 3), 2]
    assert list(evaluations(rows[rows["metric"] == "mu_fidelity"], "metric")) == [2 * 2 * 11, 0]
    alone = dict(zip(table.columns[0].cells, table.columns[1].cells, strict=True))
    assert alone == {
        "the maps": "2", "infidelity": "22", "mu_fidelity": "22", "deletion": "10", "aopc": "10",
        "all of it alone": "66", "done": "19", "done / alone": "0.29",
    }  # fmt: skip
