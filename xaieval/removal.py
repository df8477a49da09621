"""Ways to take features away.

A removal is bound to an explicand and then called with a batch and the part of each feature that is gone:

    removal = explicand.removal("blur")
    inputs = removal(batch, gone)        # gone (n, 1, *F) in [0, 1]; between 0 and 1 a feature is faded
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from xaieval.unsupported import UnsupportedError

if TYPE_CHECKING:
    from xaieval.explicand import Batch, Explicand


@dataclass(frozen=True)
class Removal:
    """What stands in for a removed feature.

    Attributes:
        fixed: The replacement does not depend on which features are removed.
        fades: A feature can be gone in part; else it is gone as a whole where more than half of it is.
    """

    fixed: ClassVar[bool] = True
    fades: ClassVar[bool] = True

    def accepts(self, units: str) -> bool:
        """Whether attributions with these units predict anything here."""
        return True

    def values(self, explicand: Explicand) -> Tensor:
        """The replacement `(N, C, *F)` of every feature, for fixed removals."""
        raise NotImplementedError

    def drawn(self, batch: Batch, gone: Tensor, purpose: str) -> Tensor:
        """The replacement `(n, C, *F)` for each pair of the batch, for removals that are made anew for each.

        Args:
            batch: The pairs.
            gone: The part of each feature that is gone `(n, 1, *F)` in [0, 1], 0 for absent ones.
            purpose: Part of the seed, so that a method and the metric that scores it never share draws.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Zero(Removal):
    """Nothing: black on images, the mask token on text."""

    def values(self, explicand: Explicand) -> Tensor:
        """See the base class."""
        return explicand.modality.zero(explicand.inputs)


@dataclass(frozen=True)
class PadToken(Removal):
    """The pad token on text; the model reads it as it reads any other."""

    def values(self, explicand: Explicand) -> Tensor:
        """See the base class."""
        return explicand.modality.pad(explicand.inputs)


@dataclass(frozen=True)
class ZeroEmbedding(Removal):
    """Zeros in every channel: black on images, on text the embedding 0, which stands for no token."""

    def values(self, explicand: Explicand) -> Tensor:
        """See the base class."""
        return torch.zeros_like(explicand.inputs)


@dataclass(frozen=True)
class Deletion(Removal):
    """The model does not read the feature at all: it is no longer attended, and later positions close up on text.

    Only for models that are told what to attend to. A deleted feature is NaN in every channel: so it travels with the
    inputs into every call, and whatever is computed with its values, as those of a baseline, is NaN, never a number.
    There is nothing in its place, so that no gradient predicts what deleting it does.
    """

    fixed: ClassVar[bool] = False
    fades: ClassVar[bool] = False

    def accepts(self, units: str) -> bool:
        """See the base class."""
        return units != "gradient"

    def drawn(self, batch: Batch, gone: Tensor, purpose: str) -> Tensor:
        """See the base class.

        Raises:
            UnsupportedError: The model attends to everything.
        """
        if batch.attended is None:
            raise UnsupportedError(
                f"{batch.explicand.classifier.name} is not told what to attend to, so nothing can be deleted",
                "choose another removal, or bind the inputs with attended=",
            )
        return torch.full_like(batch.inputs, torch.nan)


@dataclass(frozen=True)
class Mean(Removal):
    """Each sample's mean, for images its mean color."""

    def values(self, explicand: Explicand) -> Tensor:
        """See the base class."""
        return explicand.modality.mean(explicand.inputs, explicand.present)


@dataclass(frozen=True)
class Blur(Removal):
    """A Gaussian blur; 11 pixels with sigma 5 are what RISE inserts into (arXiv 1806.07421)."""

    size: int = 11
    sigma: float = 5.0

    def values(self, explicand: Explicand) -> Tensor:
        """See the base class."""
        return explicand.modality.blur(explicand.inputs, self.size, self.sigma, explicand.present)


@dataclass(frozen=True)
class Noise(Removal):
    """Uniform noise in [0, 1), drawn anew for every mask; on text around 0, with the root mean square of its tokens."""

    fixed: ClassVar[bool] = False
    seed: int = 0

    def drawn(self, batch: Batch, gone: Tensor, purpose: str) -> Tensor:
        """See the base class."""
        explicand = batch.explicand
        return explicand.modality.noise(batch.uniform(f"removal: {purpose}", self.seed), batch.of_rows(explicand.scale))


@dataclass(frozen=True)
class NoisyLinear(Removal):
    """Interpolation from what is left, with Gaussian noise, drawn anew for every mask (Rong 2022, arXiv 2202.00449).

    The shape of what was removed is hard to see in it, so the model cannot read the class from the mask. See
    `xaieval.imputation`; everything removed is the image's mean with noise. As in the authors' code nothing is clipped,
    and noise differs between channels.

    Attributes:
        noise: Standard deviation in pixel units, at least 0.
        seed: Seed of the noise.

    Raises:
        ValueError: Negative noise.
    """

    fixed: ClassVar[bool] = False
    noise: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the noise."""
        if not self.noise >= 0:
            raise ValueError(f"NoisyLinear: noise must be at least 0, got {self.noise}")

    def drawn(self, batch: Batch, gone: Tensor, purpose: str) -> Tensor:
        """See the base class."""
        explicand = batch.explicand
        present = None if explicand.present is None else batch.of(explicand.present[:, None])
        imputed = explicand.modality.impute(batch.inputs, gone, present)
        return imputed + self.noise * batch.normal(f"removal: {purpose}", self.seed)


NAMED: dict[str, Removal] = {
    "zero": Zero(),
    "mean": Mean(),
    "blur": Blur(),
    "noise": Noise(),
    "noisy_linear": NoisyLinear(),
    "pad_token": PadToken(),
    "zero_embedding": ZeroEmbedding(),
    "deletion": Deletion(),
}


def removal_of(removal: str | Removal) -> Removal:
    """The removal with this name, or the removal itself.

    Raises:
        ValueError: No removal has this name.
    """
    if isinstance(removal, Removal):
        return removal
    if removal not in NAMED:
        raise ValueError(f"removal must be one of {', '.join(NAMED)} or a Removal, got {removal!r}")
    return NAMED[removal]


class BoundRemoval:
    """A removal of one explicand; `values` `(N, C, *F)` is made once."""

    def __init__(self, removal: Removal, explicand: Explicand, purpose: str) -> None:
        self.removal = removal
        self.purpose = purpose
        self.fixed = removal.fixed
        self._explicand = explicand

    @property
    def values(self) -> Tensor:
        """The replacement of every feature `(N, C, *F)`, for fixed removals."""
        return self._explicand.kept(f"removal:{self.removal!r}", lambda: self.removal.values(self._explicand))

    def __call__(self, batch: Batch, gone: Tensor) -> Tensor:
        """The batch's inputs `(n, C, *F)` with the part `gone` `(n, 1, *F)` in [0, 1] of each feature replaced."""
        if self._explicand.present is not None:
            gone = gone * batch.of(self._explicand.present[:, None])
        if isinstance(self.removal, Zero) and self._explicand.modality.zero_is_zero:
            return batch.inputs * (1 - gone)
        other = batch.of(self.values) if self.fixed else self.removal.drawn(batch, gone, self.purpose)
        if not self.removal.fades:
            return torch.where(gone > 0.5, other, batch.inputs)
        return torch.lerp(batch.inputs, other, gone.expand_as(other))
