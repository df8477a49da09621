"""MaSF: how often masked texts are out of the model's distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.faithfulness_curve import Masked
from xaieval.masf import Pooled, Reference

UNKNOWN = "no reference: `xaieval train text`"


@dataclass(frozen=True)
class MaSF(Masked):
    """Share of masked texts that do not look as usual inside the model (Haroush 2022, arXiv 2102.12967; Madsen 2024).

    A sample's values are the p-values `(N, ratios + 1)` of the text at each ratio of masking, where the method chooses
    what is masked, see `Masked`: max over its tokens, Simes over dimensions and Fisher over layers of all hidden
    states, against reference texts, see `xaieval.masf.Reference`. `aggregate` is the share of p below `alpha` over all
    texts and the ratios above 0. Where masking is in distribution it is about `alpha`, and the faithfulness curve tells
    of what is missing; where it is far above, of how odd masked texts are.

    Lower is better. Bounds: 0 to 1. Undefined for a model without reference texts, which those have that were trained
    with `xaieval train text`, and for one with so few that no text can have a p below `alpha`.

    Cost: `ratios` - 2 explanations, shared with ACU and RACU, and `ratios` + 1 forwards. Needs: method.

    Differs from the paper: the share is over all ratios together; it is no test of the whole dataset, for which see
    `xaieval.masf.dataset_p`.

    Attributes:
        ratios: Steps from the text to nothing left.
        grid: Patches per side, of no account on texts.
        removal: What replaces removed tokens; `zero` is the mask token.
        seed: Seed of ties.
        alpha: Below which p a text is out of distribution, in (0, 1).
        budget: Most forwards that one explanation may cost; 0 or None: no limit.

    Raises:
        ValueError: Fewer than two steps, or an alpha outside (0, 1).
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    reference: ClassVar[str] = "arXiv:2102.12967"
    exceptions: ClassVar[dict[str, str]] = dict.fromkeys(
        ("values", "deterministic", "batch_size", "order", "neighbors", "absent", "undefined_maps")
        + ("exact_beats_permuted", "permuted_beats_negated", "aggregate"),
        "a model of images has no reference texts, so that nothing is defined",
    )
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if not 0 < self.alpha < 1:
            raise ValueError(f"MaSF: alpha must lie in (0, 1), got {self.alpha}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The p-value of each text at each ratio `(N, ratios + 1)`; nothing is spent where undefined."""
        usual = _reference(explicand)
        if method is None or usual is None or self.unasked(explicand, attribution):
            return attribution.new_full((explicand.count, self.ratios + 1), torch.nan)
        steps = self.steps(explicand, attribution, method)[:, None]
        step = torch.arange(self.ratios + 1, device=explicand.device)[:, None]
        gone, pooled = (steps > 0) & (steps <= step), _pooled(explicand)
        table = attribution.new_empty(explicand.count, self.ratios + 1)
        for batch in explicand.batches(self.ratios + 1, "scores"):
            explicand.meter.spend(len(batch))
            batch.write(table, usual.p_values(pooled.logits(self.inputs(batch, gone), batch.attended)))
        return table.masked_fill((steps[:, 0] < 0).any(1, keepdim=True), torch.nan)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons, usual = super().undefined(explicand, attribution, units), _reference(explicand)
        if usual is None:
            return {UNKNOWN: torch.ones_like(explicand.target, dtype=torch.bool), **reasons}
        few = usual.smallest.to(explicand.device) >= self.alpha
        return {"too few reference texts": few.expand(explicand.count), **reasons}

    def unasked(self, explicand: Explicand, attribution: Tensor) -> bool:
        """See the base class."""
        return _reference(explicand) is None or super().unasked(explicand, attribution)

    def aggregate(self, values: Tensor) -> float:
        """The share of p below alpha in `(M, ratios + 1)`, but for the texts that are whole."""
        valid = values[values.isfinite().all(1)]
        return float((valid[:, 1:] < self.alpha).double().mean())


def _reference(explicand: Explicand) -> Reference | None:
    """What is usual inside the model, where it carries that."""
    found = getattr(explicand.classifier.module, "reference", None)
    return found if isinstance(found, Reference) else None


def _pooled(explicand: Explicand) -> Classifier:
    """The model as the function that gives its hidden states, with the weights that it has here."""

    def make() -> Classifier:
        classifier = explicand.classifier
        pooled = classifier.around(Pooled(classifier.module), f"{classifier.name}, hidden states")  # type: ignore[arg-type]
        return pooled.with_weights({f"embedded.{name}": weight for name, weight in classifier.weights.items()})

    return explicand.kept("hidden states", make)
