"""Model-parameter randomization test: whether an explanation changes when the model forgets what it has learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaieval.randomization import Randomization


@dataclass(frozen=True)
class MPRT(Randomization):
    """Similarity of the explanations of the model and of models with drawn weights (Adebayo 2018, arXiv 1810.03292).

        value = mean_k s(a, a_k)

    with the explanation `a_k` of the k-th randomized model for the same class. The layers are cut into `steps` groups
    of neighbors: in a cascade the k-th model has lost the first k groups from the output (`top_down`) or from the input
    (`bottom_up`); `independent` takes one group at a time. The trained model is not part of the mean. s is Spearman's
    rank correlation over present features or the structural similarity of maps divided by their largest absolute value,
    of scores summed over channels, absolute or signed; the paper has them all. `.curve` gives each s.

    Drawn weights: a layer, that is a module with parameters of its own, draws them again as its `reset_parameters`
    does, and batch normalizations forget their statistics as well; what has no such function is permuted. Layers are in
    the order in which the model declares them. The weights are the same for all samples, and drawn once for all methods
    of a batch; one such set is held, and one randomized model at a time. A method's own draws are the same for all
    models.

    Lower is better: 1 for a map that does not depend on the model, also for a constant or a fixed random one. Bounds:
    -1 to 1. Cost: `steps` explanations. Needs: method. Undefined for a zero map, a model without parameters, where for
    each model one of the two maps is constant and not the other, and `skipped: cost` over the budget. Low does
    not mean right: a map that is noise to begin with passes.

    Differs from the paper: groups of layers, so that the cost does not grow with the model. Quantus averages the
    similarity 1 of the map with itself into the value, and draws all layers from one seed, so that equal layers are
    equal; Xplique draws weights from [0, 1].

    Attributes:
        order: top_down, bottom_up or independent.
        steps: Randomized models, at most one for each layer.
        similarity: spearman or ssim.
        absolute: Compare absolute values of the features.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
        seed: Seed of the weights.

    Raises:
        ValueError: An order or similarity that does not exist, or no step.
    """

    reference: ClassVar[str] = "arXiv:1810.03292"
