"""How fast methods and metrics are, as ratios taken in one process: `python -m xaieval.bench`.

For each method and each metric that asks for a response, on ResNet-18 at 224 pixels in float32:

* evaluations per sample,
* the time over (evaluations x the bare model's time per evaluation), the bare model in its best batch size and layout,
  measured in turn with ours: 1.00 means that nothing but the model takes time,
* where Captum has the same thing, our time over Captum's at equal settings.

Metrics in which something else than the model takes time stand in a table of their own, in seconds.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import captum.attr
import captum.metrics
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision.models import resnet18

from xaieval.allocator import keep_freed_memory
from xaieval.attributions.ablation_cam import AblationCAM
from xaieval.attributions.deeplift import DeepLift
from xaieval.attributions.excitation_backprop import ExcitationBackprop
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.guided_backprop import GuidedBackprop
from xaieval.attributions.hsic import HSIC
from xaieval.attributions.infidelity_optimal import InfidelityOptimal
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.kernel_shap import KernelSHAP
from xaieval.attributions.lrp import LRP
from xaieval.attributions.meta_saliency import MetaSaliency
from xaieval.attributions.normgrad import NormGrad
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.rise import RISE
from xaieval.attributions.score_cam import ScoreCAM
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.classifier import Classifier
from xaieval.component import Metric
from xaieval.cost import Cost
from xaieval.explicand import Explicand
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.iou import Iou
from xaieval.metrics.max_sensitivity import MaxSensitivity
from xaieval.metrics.pointing_game import PointingGame
from xaieval.metrics.relevance_mass import RelevanceMass
from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.metrics.road import ROAD
from xaieval.metrics.roc_auc import RocAuc
from xaieval.metrics.sparseness import Sparseness

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = (8, 16, 32)


class Normalized(nn.Module):
    """What Captum is given: the same network with the same normalization in front."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = (nn.Buffer(torch.tensor(values)[:, None, None]) for values in (MEAN, STD))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of pixels."""
        logits: Tensor = self.network((inputs - self.mean) / self.std)
        return logits


@dataclass(frozen=True)
class Case:
    """One line: a name, our call, and Captum's on the module and the images where it has the same thing."""

    name: str
    ours: Callable[[Explicand], Any]
    captum: Callable[[nn.Module, Tensor, int], Any] | None = None
    images: int = 1  # methods of one evaluation get a full batch of images


class Bare:
    """The model alone in channels-last layout, weights without gradients, at its best batch size."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network.to(memory_format=torch.channels_last).requires_grad_(False)
        self._device = device
        self._best = {kind: min(SIZES, key=lambda size: self._time(kind, size, 3)) for kind in ("forward", "gradient")}

    def seconds(self, kind: str) -> float:
        """Time of one evaluation at present; `gradient` is a forward and a backward."""
        return self._time(kind, self._best[kind], 3)

    def _time(self, kind: str, size: int, rounds: int) -> float:
        inputs = torch.rand(size, 3, 224, 224, device=self._device).contiguous(memory_format=torch.channels_last)
        run = self._forward if kind == "forward" else self._gradient
        run(inputs)
        return min(timed(lambda: run(inputs), self._device) for _ in range(rounds)) / size

    def _forward(self, inputs: Tensor) -> None:
        with torch.no_grad():
            self._network(inputs)

    def _gradient(self, inputs: Tensor) -> None:
        leaf = inputs.detach().requires_grad_()
        torch.autograd.grad(self._network(leaf)[:, 0].sum(), leaf)


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def cases() -> list[Case]:
    """What is timed, with Captum's counterpart at equal settings."""
    attr = captum.attr
    return [
        Case("gradient", Gradient(), lambda m, x, t: attr.Saliency(m).attribute(x, target=t, abs=False), 16),
        Case("smoothgrad 50", SmoothGrad(samples=50), _captum_smoothgrad),
        Case(
            "integrated_gradients 50",
            IntegratedGradients(steps=50),
            lambda m, x, t: attr.IntegratedGradients(m).attribute(x, target=t, n_steps=50, internal_batch_size=16),
        ),
        Case(
            "grad_cam",
            GradCAM(),
            lambda m, x, t: attr.LayerGradCam(m, m.get_submodule("network.layer4")).attribute(x, target=t),
            16,
        ),
        Case("normgrad", NormGrad(), images=16),
        Case(
            "occlusion 32/16",
            Occlusion(window=32, stride=16),
            lambda m, x, t: attr.Occlusion(m).attribute(
                x, target=t, sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16), perturbations_per_eval=16
            ),
        ),
        Case("sobol 6 x 6, 4 designs", Sobol(grid=6, designs=4)),
        Case("rise 200", RISE(samples=200)),
        Case("hsic 200", HSIC(samples=200)),
        Case("kernel_shap 200", KernelSHAP(samples=200, segments="grid"), _captum_kernel_shap),
        Case("score_cam", ScoreCAM()),
        Case("ablation_cam", AblationCAM()),
        Case("guided_backprop", GuidedBackprop(), lambda m, x, t: attr.GuidedBackprop(m).attribute(x, target=t), 16),
        Case("deeplift", DeepLift(), images=16),  # Captum's refuses rectifiers that are used twice
        Case("lrp", LRP(), images=16),
        Case("excitation_backprop", ExcitationBackprop(), images=16),
        Case("meta_saliency, ig 50", MetaSaliency(method=IntegratedGradients(steps=50))),
        Case("infidelity_optimal 100", InfidelityOptimal(samples=100)),
        Case("infidelity 100", _infidelity, _captum_infidelity),
        Case("deletion 14", _deletion),
        Case("deletion 14, 8 images", _deletion, images=8),  # one image leaves calls of a single input
        Case("max_sensitivity 10", _max_sensitivity, _captum_sensitivity),
    ]


def _deletion(explicand: Explicand) -> Tensor:
    return Deletion(steps=14)(explicand, torch.rand_like(explicand.inputs[:, :1]))


def _infidelity(explicand: Explicand) -> Tensor:
    return Infidelity(samples=100)(explicand, torch.rand_like(explicand.inputs), units="gradient")


def _max_sensitivity(explicand: Explicand) -> Tensor:
    method = Gradient()
    return MaxSensitivity(copies=10)(explicand, method(explicand), method)


def _captum_smoothgrad(module: nn.Module, inputs: Tensor, target: int) -> Tensor:
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(module))
    noise = 0.15 * float(inputs.max() - inputs.min())
    settings = {"nt_samples": 50, "nt_samples_batch_size": 16, "stdevs": noise, "abs": False}
    maps: Tensor = tunnel.attribute(inputs, target=target, **settings)
    return maps


def _captum_kernel_shap(module: nn.Module, inputs: Tensor, target: int) -> Tensor:
    cells = torch.arange(49, device=inputs.device).view(1, 1, 7, 7)
    mask = cells.repeat_interleave(32, 2).repeat_interleave(32, 3)
    maps: Tensor = captum.attr.KernelShap(module).attribute(
        inputs, target=target, feature_mask=mask, n_samples=200, perturbations_per_eval=16
    )
    return maps


def captum_removal(batch: Tensor) -> tuple[Tensor, Tensor]:
    """What is removed of images, a fifth of the patches to black, and what is left."""
    gone = (torch.rand(len(batch), 1, 14, 14, device=batch.device) < 0.2).float()
    gone = gone.repeat_interleave(16, 2).repeat_interleave(16, 3) * batch
    return gone, batch - gone


def _captum_infidelity(module: nn.Module, inputs: Tensor, target: int) -> Tensor:
    values: Tensor = captum.metrics.infidelity(
        module,
        captum_removal,
        inputs,
        torch.rand_like(inputs),
        target=target,
        n_perturb_samples=100,
        max_examples_per_batch=16,
    )
    return values


def _captum_sensitivity(module: nn.Module, inputs: Tensor, target: int) -> Tensor:
    saliency = captum.attr.Saliency(module)
    values: Tensor = captum.metrics.sensitivity_max(
        saliency.attribute, inputs, target=target, n_perturb_samples=10, max_examples_per_batch=16, abs=False
    )
    return values


def measure(
    case: Case, classifier: Classifier, module: nn.Module, bare: Bare, rounds: int
) -> tuple[Cost, float, float | None]:
    """Cost per sample, and our time over the bare model's and over Captum's: medians of rounds measured in turn."""
    inputs = torch.rand(case.images, 3, 224, 224, device=classifier.device)
    over_bare, over_captum = [], []
    for _ in range(rounds):
        explicand = classifier.explicand(inputs, target=0, ids=[f"bench {i}" for i in range(case.images)])
        ours = timed(lambda: case.ours(explicand), classifier.device)  # noqa: B023 - called at once
        cost = explicand.cost
        scored, differentiated = cost.forwards - cost.backwards, cost.backwards
        alone = scored * bare.seconds("forward") + differentiated * bare.seconds("gradient")
        over_bare.append(ours / alone / case.images)
        if case.captum is not None:
            theirs = case.captum
            over_captum.append(ours / timed(lambda: theirs(module, inputs, 0), classifier.device))  # noqa: B023
    return cost, statistics.median(over_bare), statistics.median(over_captum) if over_captum else None


OTHERS: dict[str, Metric] = {
    "road": ROAD(),
    "relevance_rank": RelevanceRank(),
    "relevance_mass": RelevanceMass(),
    "pointing_game": PointingGame(),
    "roc_auc": RocAuc(),
    "iou": Iou(),
    "sparseness": Sparseness(),
}
"""Metrics in which the model takes a part of the time or none."""


def others(classifier: Classifier, rounds: int) -> Table:
    """Seconds of metrics in which something else than the model takes time, for one map of 224 x 224 pixels."""
    table = Table("", "forwards", "seconds", title="one image on ResNet-18, 224 px, medians")
    inputs = torch.rand(1, 3, 224, 224, device=classifier.device)
    mask = torch.zeros(1, 224, 224, dtype=torch.bool, device=classifier.device)
    mask[:, 64:160, 64:160] = True
    for name, metric in OTHERS.items():
        seconds = []
        for _ in range(rounds):
            explicand = classifier.explicand(inputs, 0, ["bench"], mask=mask)
            maps = torch.rand_like(inputs[:, :1])
            seconds.append(timed(lambda: metric(explicand, maps), classifier.device))  # noqa: B023 - called at once
        table.add_row(name, f"{explicand.cost.forwards:g}", f"{statistics.median(seconds):.2g}")
    return table


def prepared(device: torch.device) -> tuple[Classifier, nn.Module, Bare]:
    """ResNet-18 with random weights: as it is explained, as Captum is given it, and alone."""
    keep_freed_memory()  # as the command `xaieval` does, here for all three
    torch.manual_seed(0)
    network = resnet18().eval().to(device)
    bare = Bare(copy.deepcopy(network), device)
    classifier = Classifier(network, mean=MEAN, std=STD)
    for _ in range(4):  # the automatic batch size is found before anything is timed
        SmoothGrad(samples=40)(classifier.explicand(torch.rand(1, 3, 224, 224, device=device), target=0))
        _infidelity(classifier.explicand(torch.rand(1, 3, 224, 224, device=device), target=0))
    return classifier, Normalized(network).eval().to(device), bare


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m xaieval.bench", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="lines whose name contains this")
    arguments = parser.parse_args()
    classifier, module, bare = prepared(torch.device(arguments.device))
    table = Table(
        "", "forwards", "backwards", "time / bare", "time / Captum", title="ResNet-18, 224 px, float32, medians"
    )
    for case in cases():
        if arguments.only in case.name:
            cost, over_bare, over_captum = measure(case, classifier, module, bare, arguments.rounds)
            captums = "" if over_captum is None else f"{over_captum:.2f}"
            table.add_row(case.name, f"{cost.forwards:g}", f"{cost.backwards:g}", f"{over_bare:.2f}", captums)
    Console().print(table)
    if not arguments.only:
        Console().print(others(classifier, arguments.rounds))


if __name__ == "__main__":
    main()
