"""What is kept of every forward pass: enough for logit, log-probability, probability and margin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NAMES = ("logit", "log_probability", "probability", "margin")


@dataclass(frozen=True)
class Scores:
    """The class score of many inputs in every form, from one forward pass each.

    Attributes:
        values: `(..., 3)`: the target's logit, the log-sum-exp of all logits, the best other logit.
    """

    values: Tensor

    @classmethod
    def read(cls, logits: Tensor, target: Tensor) -> Scores:
        """Scores `(n,)` of logits `(n, classes)` for the targets `(n,)`."""
        chosen = target[:, None]
        rival = logits.scatter(1, chosen, -torch.inf).amax(1)
        return cls(torch.stack((logits.gather(1, chosen)[:, 0], logits.logsumexp(1), rival), -1))

    @property
    def logit(self) -> Tensor:
        """The target's logit."""
        return self.values[..., 0]

    @property
    def log_probability(self) -> Tensor:
        """The target's log-softmax."""
        return self.values[..., 0] - self.values[..., 1]

    @property
    def probability(self) -> Tensor:
        """The target's softmax, in [0, 1]."""
        return self.log_probability.exp()

    @property
    def margin(self) -> Tensor:
        """The target's logit minus the best other logit."""
        return self.values[..., 0] - self.values[..., 2]

    def of(self, name: str) -> Tensor:
        """The score called `name`: logit, log_probability, probability or margin."""
        if name not in NAMES:
            raise ValueError(f"score must be one of {', '.join(NAMES)}, got {name!r}")
        value: Tensor = getattr(self, name)
        return value
