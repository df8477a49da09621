"""What a model says of samples drawn anew without some of their parts or background objects.

Nothing is drawn twice: what one metric has asked of a batch is there for every other and for all methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaieval.cost import Cost, Ledger
from xaieval.explicand import Explicand
from xaieval.module_call import keepable
from xaieval.parts import World

SYNCS = "draws scenes on the host"
"""Why what stands on this needs the host."""

Key = tuple[int, tuple[int, ...]]
"""A sample, and the parts that it is drawn without."""


class Share(Ledger):
    """One of `count` equal parts of what a piece of work cost, for who needs that part alone."""

    def __init__(self, whole: Ledger, count: int) -> None:
        self.made, self.used = [], {}
        self._whole, self._count = whole, count

    @property
    def own(self) -> Cost:
        """Its part of the work."""
        return self._whole.own.per(self._count)


@dataclass(frozen=True)
class Objects:
    """What a model says of samples drawn without one of their background objects, O at most.

    Attributes:
        logits: Of all classes, `(N, O, K)`; those of the whole sample where it has fewer objects.
        masks: The pixels that change with each, bool `(N, O, H, W)`.
        seen: Which objects change any pixel, bool `(N, O)`.
    """

    logits: Tensor
    masks: Tensor
    seen: Tensor


def worlds_of(explicand: Explicand) -> tuple[World, ...]:
    """What draws the samples anew.

    Raises:
        ValueError: Nothing does.
    """
    if explicand.worlds is None:
        raise ValueError(
            "these samples cannot be drawn anew: bind them with worlds=, or choose a dataset such as scenes"
        )
    return explicand.worlds


def drawn_parts(explicand: Explicand) -> Tensor:
    """Which parts are drawn, seen or hidden, bool `(N, P)`."""

    def make() -> Tensor:
        worlds = worlds_of(explicand)
        parts = len(worlds[0].classes[0])
        rows = [[part in world.parts for part in range(parts)] for world in worlds]
        return torch.tensor(rows, device=explicand.device)

    return explicand.kept("drawn parts", make)


def without(explicand: Explicand, gone: Tensor) -> Tensor:
    """Logits `(N, S, K)` of the samples drawn without the parts `gone`, bool `(N, S, P)`.

    Parts that are not drawn change nothing; a sample without any of its parts gone is the sample itself.
    """
    known: dict[Key, tuple[Tensor, Ledger]] = explicand.kept("drawn anew", dict)
    sets = (gone & drawn_parts(explicand)[:, None]).tolist()
    wanted = [[(row, _places(parts)) for parts in of_row] for row, of_row in enumerate(sets)]
    asked = dict.fromkeys(key for keys in wanted for key in keys if key[1])
    missing = [key for key in asked if key not in known]
    if missing:
        with keepable(), explicand.meter.making() as ledger:
            worlds = worlds_of(explicand)
            found = _logits(explicand, missing, lambda row, parts: worlds[row].image(without=parts))
        known.update(zip(missing, ((logits, Share(ledger, len(missing))) for logits in found), strict=True))
    for key in asked:
        explicand.meter.use(known[key][1])
    whole = explicand.logits
    rows = [known[key][0] if key[1] else whole[key[0]] for keys in wanted for key in keys]
    logits = torch.stack(rows) if rows else whole[:0]
    return logits.view(*gone.shape[:2], whole.shape[1])


def without_objects(explicand: Explicand) -> Objects:
    """What the model says of the samples drawn without each of their background objects alone."""
    return explicand.shared("drawn without objects", lambda: _objects(explicand))


def effects(explicand: Explicand) -> Tensor:
    """The true effect of each part `(N, P)`: the logit's drop f(x) - f(x without it); 0 where it is not drawn."""
    parts = drawn_parts(explicand).shape[1]
    alone = torch.eye(parts, dtype=torch.bool, device=explicand.device).expand(explicand.count, -1, -1)
    return drops(explicand, without(explicand, alone))


def drops(explicand: Explicand, logits: Tensor) -> Tensor:
    """By how much the logit explained is lower than for the sample itself, `(N, S)`, in logits `(N, S, K)`."""
    return explicand.clean.logit[:, None] - at(logits, explicand.target)


def at(logits: Tensor, target: Tensor) -> Tensor:
    """The logits `(N, S)` of the classes `(N,)`, of those of all `(N, S, K)`."""
    return logits.gather(2, target.view(-1, 1, 1).expand(-1, logits.shape[1], 1))[:, :, 0]


def rounding(explicand: Explicand) -> Tensor:
    """The size `(N,)` up to which a drop is rounding alone: 1e-6 of the largest logit of the sample."""
    return 1e-6 * explicand.logits.abs().amax(1)


def shown_class(explicand: Explicand) -> Tensor:
    """The class of which a sample has the variants, `(N,)`: the one explained if it may be that one; -1 if none.

    A sample shows a class if its drawn parts stay what they are when they are given the class's variants.
    """

    def make() -> Tensor:
        worlds, order = worlds_of(explicand), explicand.logits.argsort(dim=1, descending=True).tolist()
        asked = [[first, *rest] for first, rest in zip(explicand.target.tolist(), order, strict=True)]
        return torch.tensor(list(map(_shown, worlds, asked)), device=explicand.device)

    return explicand.kept("shown class", make)


def _shown(world: World, order: Sequence[int]) -> int:
    image = world.image()
    for number in order:
        if number >= len(world.classes):
            continue
        variants = world.classes[number]
        swapped = {part: variants[part] for part in world.parts if variants[part] >= 0}
        if torch.equal(world.image(swapped=swapped), image):
            return number
    return -1


def _objects(explicand: Explicand) -> Objects:
    worlds = worlds_of(explicand)
    most = max(world.objects for world in worlds)
    masks = torch.zeros(explicand.count, most, *explicand.shape[2:], dtype=torch.bool)
    logits = explicand.logits[:, None].repeat(1, most, 1)
    keys = [(row, (number,)) for row, world in enumerate(worlds) for number in range(world.objects)]
    whole: dict[int, Tensor] = {}

    def draw(row: int, numbers: tuple[int, ...]) -> Tensor:
        if row not in whole:
            whole.clear()  # samples come one after the other, so that one is enough
            whole[row] = worlds[row].image()
        image = worlds[row].image(objects=numbers)
        masks[row, numbers[0]] = (image != whole[row]).any(0)
        return image

    for (row, (number,)), found in zip(keys, _logits(explicand, keys, draw), strict=True):
        logits[row, number] = found
    seen = masks.flatten(2).any(2)
    return Objects(logits, masks.to(explicand.device), seen.to(explicand.device))


def _logits(explicand: Explicand, keys: Sequence[Key], draw: Callable[[int, tuple[int, ...]], Tensor]) -> list[Tensor]:
    """Logits `(K,)` of what is drawn for each key; as many images are there at once as the model takes."""
    explicand._check_weights()
    found: list[Tensor] = []
    while len(found) < len(keys):
        chunk = keys[len(found) : len(found) + explicand.classifier.size("scores")]
        images = torch.stack([draw(*key) for key in chunk])
        if images.shape[1:] != explicand.shape[1:]:
            raise ValueError(
                f"samples are drawn anew as {tuple(images.shape[1:])}, expected {tuple(explicand.shape[1:])} as the "
                "inputs are: give the dataset the model's size"
            )
        explicand.meter.spend(len(chunk))
        found += explicand.classifier.logits(images.to(explicand.inputs))
    return found


def _places(flags: Sequence[bool]) -> tuple[int, ...]:
    return tuple(place for place, flag in enumerate(flags) if flag)
