"""Models with drawn weights in place of learned ones, layer by layer, and what the tests that use them share."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from xaieval.component import Method
from xaieval.draws import seed_of
from xaieval.explicand import Explicand
from xaieval.repeated import Repeated
from xaieval.similarity import ONE_CONSTANT, check_similarity, similarity

ORDERS = ("top_down", "bottom_up", "independent")


def drawn_weights(explicand: Explicand, seed: int) -> list[dict[str, Tensor]]:
    """Drawn weights of each layer by name, from the first layer that the model declares to the last.

    A layer is a module with parameters of its own. It draws them as its `reset_parameters` does (the statistics of a
    batch normalization are forgotten as well), on the device and from a seed of its own; the global random state is not
    touched. Parameters that this leaves alone, or of a module without it, are permuted. Made once for each explicand.
    """

    def make() -> list[dict[str, Tensor]]:
        known = explicand.classifier.weights
        layers = (
            _drawn(name, layer, known, explicand.device, seed)
            for name, layer in explicand.classifier.module.named_modules()
        )
        return [layer for layer in layers if layer]

    return explicand.kept(f"drawn weights:{seed}", make)


def randomized(explicand: Explicand, order: str, steps: int, seed: int) -> Iterator[Explicand]:
    """The same samples bound to one randomized model after the other.

    Drawn weights are those of `drawn_weights`; models are put together from them one at a time.

    Args:
        explicand: The samples and the model.
        order: `top_down`, `bottom_up`: cascading from the last layer or from the first; `independent`: one group of
            layers at a time.
        steps: Into how many groups of neighboring layers the model is cut, at most one for each layer.
        seed: Seed of the weights.
    """
    layers = drawn_weights(explicand, seed)
    if order != "bottom_up":
        layers = layers[::-1]
    steps, weights = min(steps, len(layers)), dict[str, Tensor]()
    for step in range(steps):
        group = layers[step * len(layers) // steps : (step + 1) * len(layers) // steps]
        weights = {} if order == "independent" else weights
        for layer in group:
            weights |= layer
        yield explicand.with_weights(weights)


@dataclass(frozen=True)
class Randomization(Repeated):
    """Similarity of a method's explanations of the model and of randomized models, on average over the models.

    Models for which one of the two explanations alone is constant have no similarity and are left out.

    Attributes:
        order: top_down, bottom_up or independent.
        steps: Randomized models: the layers are cut into as many groups, at most one for each layer.
        similarity: spearman or ssim.
        absolute: Compare absolute values of the features.
        seed: Seed of the weights.

    Raises:
        ValueError: An order or similarity that does not exist, or no step.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "randomization"
    without_value: ClassVar[str] = ONE_CONSTANT
    order: str = "top_down"
    steps: int = 8
    similarity: str = "spearman"
    absolute: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        name = type(self).__name__
        if self.order not in ORDERS:
            raise ValueError(f"{name}: order must be one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.steps < 1:
            raise ValueError(f"{name}: steps must be at least 1, got {self.steps}")
        check_similarity(name, self.similarity)

    def again(self, explicand: Explicand, method: Method) -> Tensor:
        """The explanation `(N, C, *F)` of a randomized model."""
        return method(explicand)

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The mean similarity `(N,)`."""
        return self.curve(explicand, attribution, method).nanmean(1)

    def curve(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The similarity with each randomized model `(N, models)`, in the order of randomization; NaN where none."""

        def compare(model: Explicand) -> Tensor:
            return similarity(explicand, self.similarity, attribution, self.again(model, method), self.absolute)

        # Not a loop, whose variable would keep a model while the next one is made.
        values = list(map(compare, randomized(explicand, self.order, self.steps, self.seed)))
        return torch.stack(values, 1) if values else attribution.new_empty(explicand.count, 0)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        return super().undefined(explicand, attribution, units) | without_parameters(explicand)


def without_parameters(explicand: Explicand) -> dict[str, Tensor]:
    """The reason why a test is undefined for a model that has no parameter."""
    if next(explicand.classifier.module.parameters(), None) is not None:
        return {}
    return {"no parameters": torch.ones_like(explicand.target, dtype=torch.bool)}


def _drawn(
    name: str, layer: nn.Module, known: Mapping[str, Tensor], device: torch.device, seed: int
) -> dict[str, Tensor]:
    """Drawn values of the parameters and buffers of one layer's own; nothing where it has no parameter."""
    prefix = f"{name}." if name else ""
    own = [entry for entry, _ in layer.named_parameters(recurse=False) if prefix + entry in known]
    if not own:
        return {}
    generator = torch.Generator("cpu" if device.type == "meta" else device)
    generator.manual_seed(seed_of(seed, "randomized weights", name))
    found = _reset(layer, device, generator)
    for entry in own:
        if entry not in found:
            weight = known[prefix + entry]
            order = torch.empty(weight.numel(), device=device).uniform_(generator=generator).argsort()
            found[entry] = weight.flatten()[order].view_as(weight)
    return {prefix + entry: values for entry, values in found.items() if prefix + entry in known}


def _reset(layer: nn.Module, device: torch.device, generator: torch.Generator) -> dict[str, Tensor]:
    """The parameters and buffers of its own that a copy of the layer writes when it is asked to reset itself."""
    reset = getattr(layer, "reset_parameters", None)
    if not callable(reset):
        return {}
    twin: Any = copy.deepcopy(layer).to(device)
    before = {name: tensor._version for name, tensor in _own(twin).items()}
    with torch.no_grad(), _Drawing(generator):
        twin.reset_parameters()
    return {name: tensor.detach() for name, tensor in _own(twin).items() if tensor._version != before.get(name)}


def _own(layer: nn.Module) -> dict[str, Tensor]:
    return {**dict(layer.named_parameters(recurse=False)), **dict(layer.named_buffers(recurse=False))}


class _Drawing(TorchDispatchMode):
    """Random numbers come from one generator where the global one would be asked."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None:
            takes = any(argument.name == "generator" for argument in func._schema.arguments)
            func = func if takes else getattr(func.overloadpacket, "generator", func)
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)
