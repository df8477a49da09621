"""Binding inputs to a classifier: the place where values are checked, once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import prod
from typing import Any

import torch
from torch import Tensor

from xaieval.classifier import Classifier
from xaieval.cost import Meter
from xaieval.explicand import Explicand
from xaieval.parts import Parts, World
from xaieval.segments import Segments


def bind(
    classifier: Classifier,
    inputs: Tensor,
    target: Tensor | Sequence[int] | int | None,
    ids: Sequence[str] | None,
    mask: Tensor | None,
    present: Tensor | None,
    attended: Tensor | None,
    groups: Tensor | None,
    protected: Tensor | None,
    parts: Parts | None,
    worlds: Sequence[World] | None,
) -> Explicand:
    """An explicand of checked inputs; see `Classifier.explicand`."""
    inputs = _checked_inputs(inputs).to(classifier.device, torch.float32, copy=True).contiguous()
    mask, present = _checked_mask("mask", mask, inputs), _checked_present(present, inputs)
    attended = _checked_attended(attended, present, inputs)
    ids = _checked_ids(ids, inputs, attended, classifier)
    rows: dict[str, Any] = {
        "attended": attended,
        "groups": _checked_groups(groups, present, inputs, classifier),
        "protected": _checked_mask("protected", protected, inputs),
    }
    rows |= {"parts": _checked_parts(parts, inputs), "worlds": worlds}
    rows["sizes"] = _sizes(rows["groups"], present, inputs, classifier)
    meter = Meter(inputs.device)
    if target is None:
        with meter.making() as ledger:
            meter.spend(len(inputs))
            logits = classifier.logits(inputs, attended)
        explicand = Explicand(classifier, inputs, logits.argmax(1), ids, mask, present, meter=meter, **rows)
        explicand.preload("logits", logits, ledger)
        _ = explicand.clean  # read from the logits, so that a store keeps it with the class found
        return explicand
    if classifier.classes is None:
        # How many classes there are; no evaluation of a sample, not counted.
        classifier.logits(inputs[:1], None if attended is None else attended[:1])
    classes = _checked_target(target, inputs, classifier)
    return Explicand(classifier, inputs, classes, ids, mask, present, meter=meter, **rows)


def _checked_inputs(inputs: Tensor) -> Tensor:
    if not isinstance(inputs, Tensor) or inputs.dim() < 3:
        came = f"a tensor {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ValueError(f"inputs must be a tensor (N, C, *F), for images (N, 3, H, W), got {came}")
    if len(inputs) == 0:
        raise ValueError("inputs must hold at least one sample, got none")
    if not inputs.is_floating_point():
        raise ValueError(
            f"inputs must be floating point, images as pixels in [0, 1], got {inputs.dtype}: divide by 255"
        )
    if not inputs.is_meta and not bool(inputs.isfinite().all()):
        raise ValueError("inputs must be finite, got NaN or infinite values: mend the data that made them")
    return inputs.detach()


def _checked_ids(
    ids: Sequence[str] | None, inputs: Tensor, attended: Tensor | None, classifier: Classifier
) -> Sequence[str]:
    if ids is None and inputs.is_meta:
        return [f"sample {i}" for i in range(len(inputs))]
    if ids is None:
        rows = [values.cpu() for values in ((inputs,) if attended is None else (inputs, attended))]
        if attended is not None and classifier.modality.ragged:  # how far a text is padded says nothing of it
            return [_content(values[:, there]) for values, there in zip(*rows, strict=True)]
        return [_content(*row) for row in zip(*rows, strict=True)]
    if len(ids) != len(inputs):
        raise ValueError(f"ids must name each of the {len(inputs)} samples, got {len(ids)}")
    return [str(name) for name in ids]


def _content(*row: Tensor) -> str:
    content = b"".join(values.contiguous().numpy().tobytes() for values in row)
    return blake2b(content, digest_size=8).hexdigest()


def _checked_mask(name: str, mask: Tensor | None, inputs: Tensor) -> Tensor | None:
    if mask is None:
        return None
    expected = (len(inputs), *inputs.shape[2:])
    if not isinstance(mask, Tensor):
        raise ValueError(f"{name} must be a tensor {expected}, got a {type(mask).__name__}")
    if mask.dim() == inputs.dim() and mask.shape[1] == 1:
        mask = mask[:, 0]
    if tuple(mask.shape) != expected:
        raise ValueError(
            f"{name} must be {expected} for inputs {tuple(inputs.shape)}, got {tuple(mask.shape)}: "
            "resize it with the image"
        )
    return mask.to(inputs.device).bool()


def _checked_parts(parts: Parts | None, inputs: Tensor) -> Parts | None:
    if parts is None:
        return None
    if len(parts.concepts) != len(inputs) or (parts.masks is not None and parts.masks.shape[2:] != inputs.shape[2:]):
        masks = "no masks" if parts.masks is None else f"masks {tuple(parts.masks.shape)}"
        raise ValueError(
            f"parts must belong to the inputs {tuple(inputs.shape)}, got those of {len(parts.concepts)} samples with "
            f"{masks}: resize them with the images"
        )
    return parts.each(lambda rows: rows.to(inputs.device))


def _checked_present(present: Tensor | None, inputs: Tensor) -> Tensor | None:
    present = _checked_mask("present", present, inputs)
    if present is not None and not present.is_meta and not bool(present.flatten(1).any(1).all()):
        raise ValueError("present must leave at least one feature of each sample, got a sample that has none")
    return present


def _checked_attended(attended: Tensor | None, present: Tensor | None, inputs: Tensor) -> Tensor | None:
    read = _checked_mask("attended", attended, inputs)
    if attended is None or read is None:
        return None
    attended = read if attended.is_floating_point() else attended.to(inputs.device).view_as(read)
    if attended.is_meta:
        return attended
    if not bool(read.flatten(1).any(1).all()):
        raise ValueError("attended must leave at least one feature of each sample, got a sample that has none")
    if bool((~read if present is None else present & ~read).any()):
        raise ValueError(
            "present features must be attended, got some that the model does not read: padding has to be False in "
            "present as well"
        )
    return attended


def _checked_groups(
    groups: Tensor | None, present: Tensor | None, inputs: Tensor, classifier: Classifier
) -> Segments | None:
    if groups is None:
        return None
    expected = (len(inputs), *inputs.shape[2:])
    if not isinstance(groups, Tensor) or tuple(groups.shape) != expected or groups.is_floating_point():
        came = f"{groups.dtype} {tuple(groups.shape)}" if isinstance(groups, Tensor) else type(groups).__name__
        raise ValueError(f"groups must be integers {expected} for inputs {tuple(inputs.shape)}, got {came}")
    groups = groups.to(inputs.device).long()
    there = torch.ones_like(groups, dtype=torch.bool) if present is None else present
    ragged = classifier.modality.ragged
    if groups.is_meta:
        return Segments(groups, prod(expected[1:]), ragged)
    if bool((there & (groups < 0)).any()):
        raise ValueError("groups must give each present feature a number from 0, got a negative one")
    count = int(groups.masked_fill(~there, 0).max()) + 1
    if count > prod(expected[1:]):
        raise ValueError(f"groups must be numbered from 0 without gaps, got the number {count - 1}")
    return Segments(groups.masked_fill(~there, count), count, ragged)


def _sizes(
    groups: Segments | None, present: Tensor | None, inputs: Tensor, classifier: Classifier
) -> Sequence[int] | None:
    """How many pieces each text has; None where the values are not known, and where all inputs have as many."""
    if not classifier.modality.ragged or inputs.is_meta:
        return None
    if groups is None and present is None:
        return [inputs.shape[2]] * len(inputs)
    numbers: list[int] = (present if groups is None else groups.present).sum(1).tolist()  # type: ignore[union-attr]
    return numbers


def _checked_target(target: Tensor | Sequence[int] | int, inputs: Tensor, classifier: Classifier) -> Tensor:
    classes = torch.as_tensor(target, dtype=torch.long)
    if classes.dim() == 0:
        classes = classes.expand(len(inputs))
    if classes.shape != (len(inputs),):
        raise ValueError(
            f"target must be one class for each of the {len(inputs)} samples, got shape {tuple(classes.shape)}"
        )
    if not classes.is_meta and not bool(((classes >= 0) & (classes < (classifier.classes or 0))).all()):
        raise ValueError(
            f"target must lie in 0 to {(classifier.classes or 0) - 1}, the classes of {classifier.name}, "
            f"got {classes.tolist()}"
        )
    return classes.to(inputs.device)
