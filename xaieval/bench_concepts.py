"""What metrics of concepts cost beside the model: `python -m xaieval.bench_concepts`.

On a concept bottleneck of ResNet-18 with random weights and on drawn scenes of 224 pixels, as the other lines of
`make bench`: the time over (evaluations x the bare model's time per evaluation), measured in turn in one process. What
draws scenes anew is told with and without the time for drawing. The location of maps that cost less than it does
itself, those of CoAM, stands in a table of its own, in milliseconds.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision.models import resnet18

from xaieval.allocator import keep_freed_memory
from xaieval.attributions.coam import CoAM
from xaieval.attributions.grad_cam import GradCAM
from xaieval.bench import MEAN, STD, Bare, timed
from xaieval.classifier import Classifier
from xaieval.collate import collate
from xaieval.component import Method
from xaieval.concept_model import Bottleneck
from xaieval.creature import CATEGORIES, SCHEME
from xaieval.datasets.preprocess import Preprocess
from xaieval.datasets.scenes import Scenes
from xaieval.explicand import Explicand
from xaieval.metrics.concept_location import ConceptLocation
from xaieval.metrics.part_agreement import PartAgreement

COUNT, SIDE, WIDTH = 16, 224, 512


def located(method: Method) -> Callable[[Explicand], Tensor]:
    """The location of the three most important concepts of each sample."""

    def run(explicand: Explicand) -> Tensor:
        return ConceptLocation(first=3, budget=0)(explicand, method(explicand), method)

    return run


def agreed(explicand: Explicand) -> Tensor:
    """The agreement of random maps with what parts count, which draws each scene without each of its parts."""
    return PartAgreement()(explicand, torch.rand_like(explicand.inputs[:, :1]))


CASES: dict[str, Callable[[Explicand], Any]] = {
    "coam": CoAM(),
    "location of 3 concepts, grad_cam": located(GradCAM()),
    "part_agreement": agreed,
}


OTHERS: dict[str, Callable[[Explicand], Any]] = {"location of 3 concepts, coam": located(CoAM())}


def prepared(device: torch.device) -> tuple[Classifier, Bare]:
    """The bottleneck as it is explained, and its network alone."""
    keep_freed_memory()
    torch.manual_seed(0)
    network = resnet18().eval().to(device)
    bare = Bare(copy.deepcopy(network), device)
    margins, head = (
        nn.Linear(*size, device=device) for size in ((WIDTH, len(SCHEME.concepts)), (len(SCHEME.concepts), 10))
    )
    module = Bottleneck(network, "layer4", margins, head, SCHEME).eval()
    return Classifier(module, mean=MEAN, std=STD, categories=CATEGORIES), bare


def measure(
    run: Callable[[Explicand], Any], classifier: Classifier, bare: Bare, given: dict[str, Any]
) -> tuple[Explicand, float, float]:
    """What was explained, our seconds, and those of the bare model for as many evaluations."""
    explicand = classifier.explicand(target=[number % 10 for number in range(COUNT)], **given)
    ours = timed(lambda: run(explicand), classifier.device)
    cost = explicand.cost
    alone = (cost.forwards - cost.backwards) * bare.seconds("forward") + cost.backwards * bare.seconds("gradient")
    return explicand, ours, COUNT * alone


def drawing(given: dict[str, Any]) -> float:
    """Seconds to draw every scene without each of its parts that is seen."""
    parts, cpu = given["parts"], torch.device("cpu")
    seen = [
        [part for part in world.parts if row[part] > 0]
        for world, row in zip(given["worlds"], parts.visible, strict=True)
    ]
    pairs = list(zip(given["worlds"], seen, strict=True))
    return timed(lambda: [world.image(without=(part,)) for world, own in pairs for part in own], cpu)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m xaieval.bench_concepts", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    classifier, bare = prepared(torch.device(arguments.device))
    given = collate(list(Scenes(count=COUNT).load(Preprocess(SIDE, SIDE))))
    for _ in range(3):  # the automatic batch size is found before anything is timed
        measure(agreed, classifier, bare, given)
    title = f"{COUNT} scenes, bottleneck of ResNet-18, {SIDE} px, float32, medians"
    table = Table("", "forwards", "backwards", "time / bare", "without drawing", title=title)
    for name, run in CASES.items():
        whole, model = [], []
        for _ in range(arguments.rounds):
            explicand, ours, alone = measure(run, classifier, bare, given)
            whole.append(ours / alone)
            model.append((ours - (drawing(given) if run is agreed else 0)) / alone)
        cost = explicand.cost
        apart = f"{statistics.median(model):.2f}" if run is agreed else ""
        table.add_row(name, f"{cost.forwards:g}", f"{cost.backwards:g}", f"{statistics.median(whole):.2f}", apart)
    Console().print(table, _others(classifier, bare, given, arguments.rounds))


def _others(classifier: Classifier, bare: Bare, given: dict[str, Any], rounds: int) -> Table:
    table = Table("", "forwards", "ms a scene", "of the bare model", title="with their own work beside the model")
    for name, run in OTHERS.items():
        explicands, ours, alone = zip(*(measure(run, classifier, bare, given) for _ in range(rounds)), strict=True)
        times = (f"{1000 * statistics.median(seconds) / COUNT:.1f}" for seconds in (ours, alone))
        table.add_row(name, f"{explicands[0].cost.forwards:g}", *times)
    return table


if __name__ == "__main__":
    main()
