"""What computing everything once saves, on a grid of ten methods and twelve metrics: `python -m xaieval.bench_grid`.

On ResNet-18 at 224 pixels, printed:

* the evaluations that each metric would need alone, for all methods together, and those that the run really spent,
* the time of the run over (evaluations x the bare model's time for each),
* for the cells that Captum has too (infidelity and maximum sensitivity of six methods), our time over Captum's.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import captum.attr
import captum.metrics
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.hsic import HSIC
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.kernel_shap import KernelSHAP
from xaieval.attributions.normgrad import NormGrad
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.rise import RISE
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.bench import captum_removal, prepared, timed
from xaieval.benchmark import Benchmark, check_cells
from xaieval.classifier import Classifier
from xaieval.component import Method, Metric
from xaieval.datasets.base import Sample
from xaieval.metrics.aopc import AOPC
from xaieval.metrics.class_sensitivity import ClassSensitivity
from xaieval.metrics.decision_flip import DecisionFlip
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.max_sensitivity import MaxSensitivity
from xaieval.metrics.morf_lerf import MorfLerf
from xaieval.metrics.mprt import MPRT
from xaieval.metrics.mu_fidelity import MuFidelity
from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.metrics.sparseness import Sparseness

DRAWS, COPIES, BUDGET = 100, 4, 60

METHODS: dict[str, Method] = {
    "gradient": Gradient(),
    "input_x_gradient": InputXGradient(),
    "integrated_gradients": IntegratedGradients(steps=32),
    "smoothgrad": SmoothGrad(samples=25),
    "grad_cam": GradCAM(),
    "normgrad": NormGrad(),
    "occlusion": Occlusion(window=56, stride=28),
    "kernel_shap": KernelSHAP(samples=100, segments="grid"),
    "hsic": HSIC(samples=100),
    "rise": RISE(samples=200),
}
METRICS: dict[str, Metric] = {
    "infidelity": Infidelity(samples=DRAWS),
    "mu_fidelity": MuFidelity(samples=DRAWS),
    "deletion": Deletion(steps=14),
    "insertion": Insertion(steps=14),
    "aopc": AOPC(steps=14),
    "morf_lerf": MorfLerf(steps=14),
    "decision_flip": DecisionFlip(steps=14),
    "relevance_rank": RelevanceRank(),
    "max_sensitivity": MaxSensitivity(copies=COPIES, budget=BUDGET),
    "class_sensitivity": ClassSensitivity(budget=BUDGET),
    "mprt": MPRT(steps=2, budget=BUDGET),
    "sparseness": Sparseness(),
}


def samples(count: int) -> list[Sample]:
    """Images of noise with the mask of a square in the middle."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(224, 224, dtype=torch.bool)
    mask[64:160, 64:160] = True
    return [Sample(f"{i}", torch.rand(3, 224, 224, generator=generator), 0, mask, (f"{i}",)) for i in range(count)]


def run(classifier: Classifier, images: list[Sample], names: Mapping[str, Metric]) -> pd.DataFrame:
    """The rows of the grid with these metrics; Captum's methods alone where these are Captum's metrics."""
    methods = METHODS if names is METRICS else {name: METHODS[name] for name in CAPTUM}
    rows = Benchmark(classifier, methods, names, "noise").run(images).rows
    check_cells(rows)
    return rows


# -- Captum ----------------------------------------------------------------------------------------------------------

Explain = Callable[..., Tensor]


def _integrated(module: nn.Module) -> Explain:
    return partial(captum.attr.IntegratedGradients(module).attribute, n_steps=32, internal_batch_size=16)


def _smooth(module: nn.Module) -> Explain:
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(module))
    return partial(tunnel.attribute, nt_samples=25, nt_samples_batch_size=16, stdevs=0.15, abs=False)


def _occlusion(module: nn.Module) -> Explain:
    windows = {"sliding_window_shapes": (3, 56, 56), "strides": (3, 28, 28), "perturbations_per_eval": 16}
    return partial(captum.attr.Occlusion(module).attribute, **windows)


def _cam(module: nn.Module) -> Explain:
    cam = captum.attr.LayerGradCam(module, module.get_submodule("network.layer4"))

    def explain(inputs: Any, target: int) -> Any:
        """A tuple for a tuple, which Captum's sensitivity hands over and expects."""
        coarse = cam.attribute(inputs, target=target)
        maps = captum.attr.LayerAttribution.interpolate(coarse, (224, 224), "bilinear").repeat(1, 3, 1, 1)
        return (maps,) if isinstance(inputs, tuple) else maps

    return explain


CAPTUM: dict[str, Callable[[nn.Module], Explain]] = {
    "gradient": lambda module: partial(captum.attr.Saliency(module).attribute, abs=False),
    "input_x_gradient": lambda module: captum.attr.InputXGradient(module).attribute,
    "integrated_gradients": _integrated,
    "smoothgrad": _smooth,
    "grad_cam": _cam,
    "occlusion": _occlusion,
}
SHARED = {name: METRICS[name] for name in ("infidelity", "max_sensitivity")}


def captums(module: nn.Module, images: list[Sample]) -> None:
    """Explain each image with Captum's methods and score the maps with its two metrics, as `SHARED` does."""
    for sample in images:
        inputs = sample.input[None].to(next(module.parameters()).device)
        target = int(module(inputs).argmax())
        settings = {"target": target, "max_examples_per_batch": 16}
        for make in CAPTUM.values():
            explain = make(module)
            maps = explain(inputs, target=target)
            captum.metrics.infidelity(module, captum_removal, inputs, maps, n_perturb_samples=DRAWS, **settings)
            captum.metrics.sensitivity_max(explain, inputs, n_perturb_samples=COPIES, **settings)


# -- the tables --------------------------------------------------------------------------------------------------------


def evaluations(rows: pd.DataFrame, kind: str) -> tuple[float, float]:
    """Forwards and backwards in these rows: `method`, `metric` or `paid`."""
    return rows[f"{kind}_forwards"].sum(), rows[f"{kind}_backwards"].sum()


def alone_and_done(rows: pd.DataFrame) -> tuple[Table, tuple[float, float]]:
    """Evaluations that the maps and each metric would need alone, and what the run spent."""
    table = Table("", "forwards alone", "backwards alone", title="10 methods x 12 metrics, evaluations for each image")
    images = rows["sample"].nunique()
    maps = evaluations(rows.drop_duplicates(["sample", "method"]), "method")
    parts = {"the maps": maps} | {str(name): evaluations(group, "metric") for name, group in rows.groupby("metric")}
    for name, cost in parts.items():
        table.add_row(name, *(f"{count / images:,.0f}" for count in cost))
    alone = [sum(cost[kind] for cost in parts.values()) for kind in (0, 1)]
    done = evaluations(rows, "paid")
    table.add_section()
    table.add_row("all of it alone", *(f"{count / images:,.0f}" for count in alone))
    table.add_row("done", *(f"{count / images:,.0f}" for count in done))
    table.add_row("done / alone", *(f"{part / whole:.2f}" for part, whole in zip(done, alone, strict=True)))
    return table, done


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m xaieval.bench_grid", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=2)
    arguments = parser.parse_args()
    device, images = torch.device(arguments.device), samples(arguments.images)
    classifier, module, bare = prepared(device)
    found: dict[str, Any] = {}
    seconds = timed(lambda: found.update(rows=run(classifier, images, METRICS)), device)
    table, (forwards, backwards) = alone_and_done(found["rows"])
    alone = (forwards - backwards) * bare.seconds("forward") + backwards * bare.seconds("gradient")
    console = Console()
    console.print(table)
    console.print(f"{seconds:.0f} s for {len(images)} images, {seconds / alone:.2f} of the bare model's time for them")
    ours = timed(lambda: run(classifier, images, SHARED), device)
    with warnings.catch_warnings(action="ignore"):  # Captum's, on inputs without gradients and on batch sizes
        theirs = timed(lambda: captums(module, images), device)
    cells = f"{', '.join(CAPTUM)} x {', '.join(SHARED)}"
    console.print(f"{cells}: {ours:.0f} s, with Captum {theirs:.0f} s, {ours / theirs:.2f} of it")


if __name__ == "__main__":
    main()
