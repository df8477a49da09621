"""What a report shows of one photo: the mask, what stands in the place of pieces, the order in which they go."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xaieval.classifier import Classifier
from xaieval.cost import Cost
from xaieval.curve import curve_name
from xaieval.datasets.base import Sample
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.insertion import Insertion
from xaieval.removal import removal_of
from xaieval.report.album import _points
from xaieval.report.looks import looks
from xaieval.scores import Scores

SIDE = 24
GRID = 5
"""24 / 5 is no integer, so patches differ in size."""


def opened(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB"), float) / 255


@pytest.fixture(scope="module")
def explicand():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    image = (torch.arange(SIDE) // 3 % 2).float().expand(1, 3, SIDE, SIDE)  # bars, which a blur changes
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[:, 3:9, 5:20] = True
    return Classifier(net).explicand(image, mask=mask)


def shown(explicand, **curves):
    values = torch.arange(SIDE * SIDE, dtype=torch.float32).view(1, 1, SIDE, SIDE)
    explicand.remember(values, "importance", Cost(), None)
    sample = Sample("one", explicand.inputs[0], 1, explicand.mask[0], ("one",))
    return looks(explicand, sample, {"method": values}, curves)


def test_the_mask_is_that_of_the_photo(explicand):
    found = shown(explicand)
    np.testing.assert_array_equal(opened(found["mask"])[..., 0] > 0.5, explicand.mask[0].numpy())
    assert (found["label"], found["size"]) == ("class 1", [SIDE, SIDE])


@pytest.mark.parametrize("removal", ["blur", "mean"])
def test_pieces_are_replaced_by_what_the_metric_puts_there(explicand, removal):
    found = opened(shown(explicand, view=Deletion(grid=GRID, removal=removal))["removed"]["view"])
    expected = removal_of(removal).values(explicand)[0].movedim(0, -1).expand(SIDE, SIDE, 3).numpy()
    assert np.abs(found - expected).mean() < 0.03  # WEBP forgets a little
    assert np.abs(found - explicand.inputs[0].movedim(0, -1).numpy()).mean() > 0.2


def test_black_needs_no_picture_and_what_depends_on_the_rest_has_none(explicand):
    assert "view" not in shown(explicand, view=Deletion(grid=GRID))["removed"]
    assert shown(explicand, view=Deletion(grid=GRID, removal="noisy_linear"))["removed"]["view"] == ""


def test_the_highest_patch_goes_first(explicand):
    found = shown(explicand, view=Deletion(grid=GRID, steps=GRID * GRID))
    assert found["grids"] == {f"{GRID}:0": [GRID, GRID]}
    ((order,),) = (places.values() for places in found["orders"].values())
    of_pixel = np.arange(SIDE) * GRID // SIDE
    sums = np.zeros((GRID, GRID))
    np.add.at(sums, (of_pixel[:, None], of_pixel), np.arange(SIDE * SIDE).reshape(SIDE, SIDE))
    assert np.argsort(order).tolist() == np.argsort(-sums, axis=None).tolist()


def test_curves_are_of_the_output_that_their_metrics_read():
    scores = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    metrics = {output: Insertion(grid=GRID, steps=3, output=output) for output in ("probability", "logit")}
    one = metrics["logit"]
    name = curve_name(GRID, 3, removal_of(one.removal), "insertion", 0)
    found = _points(metrics, {name: torch.cat((scores, torch.linspace(0, 1, 4)[:, None]), 1)})
    for output in metrics:
        assert found[output] == [[0, 0.3333, 0.6667, 1], pytest.approx(Scores(scores).of(output).tolist(), abs=1e-4)]
    assert found["logit"] != found["probability"]
