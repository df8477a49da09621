"""Texts and models with known answers: each gives logits (f, 0) of embeddings `(N, D, T)` and what is attended."""

import torch
from known_answers import ids, normal
from torch import nn

from xaieval.classifier import Classifier
from xaieval.modalities.texts import Texts

WIDTH, LENGTH = 4, 7
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 1.5])
MASK = torch.tensor([0.3, 0.1, -0.2, 0.4])
PAD = torch.tensor([-0.1, 0.2, 0.2, 0.0])
SIZES = (7, 5, 4)  # each text begins and ends with a special token; the rest is padding
WORDS = torch.tensor([[-1, 0, 0, 1, 2, 2, -1], [-1, 0, 1, 1, -1, -1, -1], [-1, 0, 1, -1, -1, -1, -1]])


class TextModel(nn.Module):
    """A function of `(N, D, T)` and attended `(N, T)` giving `(N,)` as a classifier of two classes."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, embeddings, attended):
        score = self.function(embeddings, attended.float())
        return torch.stack((score, torch.zeros_like(score)), 1)


def projected(x):
    return torch.einsum("ndt,d->nt", x, WEIGHTS.to(x))


def bag():
    """f = sum over attended tokens of w.x_t + .2."""
    return TextModel(lambda x, attended: (projected(x) * attended).sum(1) + 0.2)


def bent(u):
    """What a token is worth in the additive model; a parabola, along which integrated gradients are exact."""
    return u + u**2 / 2


def additive():
    return TextModel(lambda x, attended: (bent(projected(x)) * attended).sum(1) - 0.1)


def ordered():
    """A token counts less the later it stands."""
    return TextModel(lambda x, attended: (projected(x) * attended / (attended.cumsum(1) + 1)).sum(1))


class Attending(nn.Module):
    """A small transformer over tokens that are attended, read at the first token; positions count attended tokens."""

    def __init__(self, width=8, classes=3):
        super().__init__()
        self.place = nn.Parameter(torch.randn(2 * LENGTH, width))
        self.enter = nn.Conv1d(WIDTH, width, 1)
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.hidden, self.head = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, embeddings, attended):
        tokens = self.enter(embeddings).mT + self.place[(attended.long().cumsum(1) - 1).clamp(min=0)]
        scores = (self.query(tokens) @ tokens.mT).masked_fill(~attended[:, None], -1e4)
        tokens = tokens + scores.softmax(-1) @ self.value(tokens)
        return self.head(torch.tanh(self.hidden(tokens[:, 0])))


def attended(sizes=SIZES):
    return torch.arange(LENGTH) < torch.tensor(sizes)[:, None]


def present(sizes=SIZES):
    place, end = torch.arange(LENGTH), torch.tensor(sizes)[:, None]
    return (place > 0) & (place < end - 1)


def embeddings():
    return normal(3, WIDTH, LENGTH, seed=5)


def text(module, inputs=None, sizes=SIZES, batch_size=2, target=0, device=None, modality=None, **options):
    """Three texts of 7, 5 and 4 tokens."""
    inputs = embeddings() if inputs is None else inputs
    modality = modality or Texts(mask=MASK, padding=PAD)
    classifier = Classifier(module, batch_size=batch_size, modality=modality, device=device)
    shown = options.pop("present", present(sizes))
    names = options.pop("ids", ids(len(inputs)))
    return classifier.explicand(inputs, target, names, present=shown, attended=attended(sizes), **options)
