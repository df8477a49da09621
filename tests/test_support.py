"""Which methods a model supports, and the table of it."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from known_answers import random
from torch import nn

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.guided_backprop import GuidedBackprop
from xaieval.attributions.score_cam import ScoreCAM
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.method_catalog import _support
from xaieval.support import FAMILIES, refusal


@dataclass(frozen=True)
class Refusing(Method):
    """A method whose map of a sample is not finite where it refuses it."""

    units: ClassVar[str] = "importance"
    refuses: ClassVar[str] = "unsupported layers: the sum is far off"

    def attribute(self, explicand):
        return torch.full_like(explicand.inputs[:, :1], torch.nan)


class Broken(Refusing):
    """The same without a word."""

    refuses: ClassVar[str] = ""


@pytest.fixture
def smooth():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return Classifier(module, name="smooth").explicand(random(1, 3, 8, 8), 0)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Gradient(), ""),
        (GuidedBackprop(), "unsupported layers: smooth calls no relu, relu6 or hardtanh, for which alone the rule"),
        (Refusing(), "unsupported layers: the sum is far off"),
        (Broken(), "the map holds NaN or infinite scores"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Method) else "",
)
def test_a_refusal_is_what_a_run_would_say(smooth, method, reason):
    found = refusal(smooth, method)
    assert found == reason or (reason and found.startswith(reason))


def test_a_costly_method_is_tried_by_what_it_reads(smooth):
    before = smooth.cost
    assert refusal(smooth, ScoreCAM()) == ""
    assert smooth.cost.forwards - before.forwards == 1


def test_the_table_has_a_row_for_what_is_refused_somewhere():
    found = {family: {"one": "", "two": "", "three": ""} for family in FAMILIES}
    found["ViT"] = {"one": "", "two": "no places", "three": "no rectifier"}
    found["Swin"] = {"one": "", "two": "no places", "three": ""}
    head, _, *rows = _support(found).splitlines()
    assert head.split(" | ")[0] == "| method"
    yes = ["yes"] * (len(FAMILIES) - 4)
    assert rows[0] == "| " + " | ".join(["[two](#two)", *yes, "no (1)", "yes", "yes", "no (1)"]) + " |"
    assert rows[1] == "| " + " | ".join(["[three](#three)", *yes, "no (2)", "yes", "yes", "yes"]) + " |"
    assert rows[2:] == ["", "1. no places", "2. no rectifier"]
