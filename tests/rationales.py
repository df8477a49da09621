"""Texts of known scores and rationales, and every order of them."""

import itertools

import torch
from known_answers import normal
from text_models import MASK, PAD, WIDTH, bag

from xaieval.classifier import Classifier
from xaieval.modalities.texts import Texts


def rationale(inside, **options):
    """Texts with a rationale `(N, T)` given as lists of 0 and 1."""
    mask = torch.as_tensor(inside).bool()
    options = {name: torch.as_tensor(value) for name, value in options.items()}
    if "present" in options:
        options["present"] = options["present"].bool()
    classifier = Classifier(bag(), modality=Texts(mask=MASK, padding=PAD))
    everything = torch.ones_like(mask)
    inputs = normal(len(mask), WIDTH, mask.shape[1])
    return classifier.explicand(inputs, 0, mask=mask, attended=everything, **options)


def scored(scores):
    """A map `(N, 1, T)`."""
    return torch.as_tensor(scores, dtype=torch.float32)[:, None]


def orders(scores):
    """All orders of places by descending scores, ties in every way."""
    places = range(len(scores))
    return [
        order
        for order in itertools.permutations(places)
        if all(scores[one] >= scores[other] for one, other in itertools.pairwise(order))
    ]
