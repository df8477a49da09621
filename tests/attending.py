"""A small vision transformer with weights set by hand, its attention written in three ways; and its own slow twin."""

import math

import torch
from torch import nn
from torch.nn import functional

FORMS = ("fused", "softmax", "module")
READS = ("class", "patches", "both")
GRID = (2, 3)
WIDTH, HEADS, LAYERS = 4, 2, 2


class Block(nn.Module):
    """`x + attention(x)`, then `x + tanh(x)`."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.dropout = nn.Dropout()

    def forward(self, x):
        x = x + self.attended(x)
        return x + torch.tanh(x)

    def attended(self, x):
        part = self.attention
        if self.form == "module":
            return part(x, x, x, need_weights=False)[0]
        mixed = functional.linear(x, part.in_proj_weight, part.in_proj_bias)
        query, key, value = mixed.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        if self.form == "fused":
            attended = functional.scaled_dot_product_attention(query, key, value)
        else:
            attended = self.dropout((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)) @ value
        return part.out_proj(attended.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Patches of 4 x 4 pixels behind a class token; three classes."""

    def __init__(self, form="fused", read="class"):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.embedded = nn.Identity()  # a layer that gives the tokens, among which the places are found
        self.blocks = nn.Sequential(*(Block(form) for _ in range(LAYERS)))
        self.head = nn.Linear(WIDTH, 3)
        self.read = read
        generator = torch.Generator().manual_seed(5)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.7, generator=generator)

    def tokens(self, x):
        patches = self.patches(x).flatten(2).mT
        return self.embedded(torch.cat((self.token.expand(len(x), -1, -1), patches), 1))

    def logits(self, tokens):
        """The class token; the patches' mean; or the mean of class token and first patch, as with a distillation."""
        read = {"class": slice(0, 1), "patches": slice(1, None), "both": slice(0, 2)}[self.read]
        return self.head(tokens[:, read].mean(1))

    def forward(self, x):
        return self.logits(self.blocks(self.tokens(x)))


@torch.no_grad()
def slow(model, x, target, nudge=None):
    """Logit of one input in float64 and attention weights by loops, `weights[layer][head][token][token]`.

    Args:
        model: The transformer.
        x: `(3, H, W)`.
        target: The class.
        nudge: `(layer, head, token, token, step)`: a weight that is made larger by a step.
    """
    model = model.double()
    tokens = model.tokens(x[None].double())[0]
    weights: list[list[list[list[float]]]] = []
    for layer, block in enumerate(model.blocks):
        part, size, outputs = block.attention, WIDTH // HEADS, torch.zeros_like(tokens)
        mixed = tokens @ part.in_proj_weight.T + part.in_proj_bias
        weights.append([])
        for head in range(HEADS):
            rows = slice(head * size, (head + 1) * size)
            query, key, value = (mixed[:, one * WIDTH : (one + 1) * WIDTH][:, rows] for one in range(3))
            weights[-1].append([])
            for i in range(len(tokens)):
                powers = [math.exp(float(query[i] @ key[j]) / math.sqrt(size)) for j in range(len(tokens))]
                row = [power / sum(powers) for power in powers]
                if nudge and nudge[:3] == (layer, head, i):
                    row[nudge[3]] += nudge[4]
                weights[-1][-1].append(row)
                outputs[i, rows] = sum(weight * value[j] for j, weight in enumerate(row))
        tokens = tokens + outputs @ part.out_proj.weight.T + part.out_proj.bias
        tokens = tokens + torch.tanh(tokens)
    logit = float(model.logits(tokens[None])[0, target])
    model.float()
    return logit, weights


def slow_gradient(model, x, target, layer, head, i, j, step=1e-5):
    """The logit's derivative at one attention weight, by central differences."""
    above, below = (slow(model, x, target, (layer, head, i, j, sign * step))[0] for sign in (1, -1))
    return (above - below) / (2 * step)
