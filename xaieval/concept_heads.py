"""Heads on concepts: classes from the margins of concepts, and what these leave out."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from xaieval.concept_vectors import spread
from xaieval.models.loading import ModelError, require

ITERATIONS = 10_000


def sparse_head(margins: Tensor, target: Tensor, classes: int, lam: float, l1_ratio: float, seed: int) -> nn.Linear:
    """A sparse linear classifier of margins, L to K (Yuksekgonul 2022, arXiv:2205.15480, section 3).

    Logistic regression of each class against the others with the penalty `lam (l1_ratio |w|_1 + (1 - l1_ratio)
    |w|_2^2 / 2)`, by scikit-learn's stochastic gradient descent. Of two classes each has half of the one log-odds.

    Differs from the paper: margins are divided by their spread before, the weights after, so that the penalty means the
    same whatever the scale of the model's features.

    Args:
        margins: `(n, L)`.
        target: `(n,)`, each class at least once.
        classes: Their number K.
        lam: Strength of the penalty.
        l1_ratio: Part of it that makes weights 0.
        seed: Of the order of the samples.

    Raises:
        ModelError: A class without samples, fewer than two classes, or scikit-learn is missing.
        ValueError: A strength or a part that is none.
    """
    if lam <= 0 or not 0 <= l1_ratio <= 1:
        raise ValueError(f"lam must be positive and l1_ratio lie in 0 to 1, got {lam} and {l1_ratio}")
    require("of concepts", {"sklearn": "'xaieval[concepts]'"})
    from sklearn.linear_model import SGDClassifier

    missing = sorted(set(range(classes)) - set(target.tolist()))
    if missing or classes < 2:
        raise ModelError(
            f"a head needs samples of each of at least two classes, got none of {missing[:5] or 'a second one'}: "
            "give more samples"
        )
    options = {"loss": "log_loss", "penalty": "elasticnet", "alpha": lam, "l1_ratio": l1_ratio}
    model = SGDClassifier(**options, max_iter=ITERATIONS, random_state=seed)
    scale = spread(margins.double().numpy())
    model.fit(margins.double().numpy() / scale, target.numpy())
    weight, bias = torch.from_numpy(model.coef_) / scale, torch.from_numpy(model.intercept_)
    if classes == 2:
        weight, bias = torch.cat((-weight, weight)) / 2, torch.cat((-bias, bias)) / 2
    return linear(weight, bias)


def residual_head(features: Tensor, logits: Tensor, target: Tensor, strength: float) -> nn.Linear:
    """What features add to the logits of concepts, which stay as they are, d to K (the same, PCBM-h in section 3).

    It minimizes the mean cross-entropy of `logits + R f / s + r` plus `strength |R|^2`, by L-BFGS from zero, with s the
    spread of the features.

    Differs from the paper: the authors train with Adam for some epochs, their penalty is the mean of the squares
    (unverified).

    Args:
        features: `(n, d)`.
        logits: Of the sparse head, `(n, K)`.
        target: `(n,)`.
        strength: Of the penalty.

    Raises:
        ValueError: A strength that is none.
    """
    if strength <= 0:
        raise ValueError(f"the strength of the residual head's penalty must be positive, got {strength}")
    scale = spread(features.double().numpy())
    features, logits = features.double() / scale, logits.double()
    weight = torch.zeros(logits.shape[1], features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=1000, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(logits + functional.linear(features, weight, bias), target)
        value = value + strength * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return linear(weight.detach() / scale, bias.detach())


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer of these values, in float32."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return layer
