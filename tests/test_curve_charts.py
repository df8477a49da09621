"""Deletion and insertion curves as figures: what is drawn is what metrics integrate."""

from typing import Any

import numpy as np
import pytest
import torch
from test_plots import SIDE, explained, ramp

from xaieval.attributions.random import Random
from xaieval.classifier import Classifier
from xaieval.curve_charts import DIRECTIONS, curves, masked
from xaieval.laws import text_toys
from xaieval.laws.toys import General, images, seeded
from xaieval.metrics.deletion import Deletion
from xaieval.statistics import bootstrap_interval
from xaieval.table import number

OPTIONS: dict[str, Any] = {"grid": 4, "steps": 5}


def maps():
    return {"ramp": ramp(), "back": -ramp()}


def drawn(axes):
    """The random order, then the curve."""
    return [line for line in axes.lines if line.get_linestyle() != "None"]


def corners(axes, kind):
    return [set(map(tuple, one.get_paths()[0].vertices.round(6))) for one in axes.collections if one.get_gid() == kind]


@pytest.mark.parametrize("direction", list(DIRECTIONS))
def test_masked_inputs_are_those_that_the_curve_scores(direction):
    explicand = explained()
    inputs = masked(explicand, ramp(), direction, **OPTIONS)
    assert inputs.shape == (2, 4, 3, SIDE, SIDE)
    expected = explicand.curve(ramp(), direction=direction, **OPTIONS).scores.logit[:, 1:-1]
    for step in range(4):
        found = Classifier(seeded(General)).explicand(inputs[:, step], explicand.target, explicand.ids).clean.logit
        torch.testing.assert_close(found, expected[:, step])


def test_a_sample_has_its_curves_its_areas_and_its_pictures():
    explicand, own = explained(), ramp()
    figure = curves(explicand, {"ramp": own, "back": -own}, 1, shown=(1, 3), **OPTIONS)
    axes = np.array(figure.axes).reshape(2, 6)
    curve = explicand.curve(own, direction="deletion", **OPTIONS)
    _, line = drawn(axes[0, 0])
    np.testing.assert_allclose(line.get_xydata(), np.c_[curve.fraction[1], curve.scores.probability[1]], atol=1e-6)
    (area,) = corners(axes[0, 0], "area")
    assert {tuple(np.round(end, 6)) for end in line.get_xydata()} <= area
    assert {(round(x, 6), 0.0) for x in line.get_xdata()} <= area
    deletion = float(Deletion(**OPTIONS)(explicand, own)[1])
    assert axes[0, 0].get_title().split("\n")[0] == f"area {number(deletion, 3)}"
    for place, direction in ((0, "deletion"), (3, "insertion")):
        inputs = masked(explicand, own, direction, **OPTIONS)
        for picture, step in zip(axes[0, place + 1 : place + 3], (1, 3), strict=True):
            np.testing.assert_allclose(picture.images[0].get_array(), inputs[1, step - 1].movedim(0, -1))
            scores = explicand.curve(own, direction=direction, **OPTIONS)
            told = f"{100 * scores.fraction[1, step]:.0f} %: {number(float(scores.scores.probability[1, step]), 2)}"
            assert picture.get_title() == told
    assert [row[0].get_ylabel() for row in axes] == ["ramp", "back"]
    assert figure.get_suptitle() == "photo 1 \N{MIDDLE DOT} class 1"


def test_ten_random_orders_stand_beside_a_sample_with_their_range():
    explicand = explained()
    figure = curves(explicand, {"ramp": ramp()}, 0, shown=(), **OPTIONS)
    found = torch.stack(
        [explicand.curve(Random(seed)(explicand), **OPTIONS).scores.probability[0] for seed in range(10)]
    ).numpy()
    chance, _ = drawn(figure.axes[0])
    assert chance.get_linestyle() == "--"
    np.testing.assert_allclose(chance.get_ydata(), found.mean(0), atol=1e-6)
    (band,) = corners(figure.axes[0], "band")
    x = chance.get_xdata().round(6)
    expected = set(zip(x, found.min(0).round(6), strict=True)) | set(zip(x, found.max(0).round(6), strict=True))
    for end in expected:
        assert min(np.hypot(end[0] - one[0], end[1] - one[1]) for one in band) < 1e-5
    assert "the mean of 10 random orders and their range" in figure.get_supxlabel()


def test_means_over_samples_have_bootstrap_intervals_and_no_pictures():
    explicand = Classifier(seeded(General)).explicand(images(5, SIDE), list(range(4)) + [0])
    own = ramp()[:1].repeat(5, 1, 1, 1)
    figure = curves(explicand, {"ramp": own}, **OPTIONS)
    assert len(figure.axes) == 2
    curve = explicand.curve(own, direction="insertion", **OPTIONS)
    axes = figure.axes[1]
    _, line = drawn(axes)
    np.testing.assert_allclose(line.get_ydata(), curve.scores.probability.mean(0), atol=1e-6)
    band = corners(axes, "band")[1]
    interval = bootstrap_interval(curve.scores.probability[:, 2].tolist())
    x = line.get_xdata()[2]
    for end in (interval.low, interval.high):
        assert min(np.hypot(x - one[0], end - one[1]) for one in band) < 1e-5
    area = bootstrap_interval(curve.area().tolist())
    assert axes.get_title().split("\n")[0] == f"area {' '.join(_told(area))}"
    assert "5 samples with 95 % bootstrap intervals" in figure.get_suptitle()
    chance = explicand.curve(Random(0)(explicand), direction="insertion", **OPTIONS)
    np.testing.assert_allclose(drawn(axes)[0].get_ydata(), chance.scores.probability.mean(0), atol=1e-6)
    assert axes.get_title().split("\n")[1] == f"random {' '.join(_told(bootstrap_interval(chance.area().tolist())))}"
    assert "dashed: a random order of each sample" in figure.get_supxlabel()


def test_removal_output_and_seed_are_those_asked_for():
    explicand, even = explained(), torch.ones_like(ramp())
    options: dict[str, Any] = {**OPTIONS, "removal": "mean", "seed": 7}
    figure = curves(explicand, {"even": even}, output="logit", **options)
    curve, chance = (explicand.curve(one, **options) for one in (even, Random(7)(explicand)))
    for line, expected in zip(drawn(figure.axes[0]), (chance, curve), strict=True):
        np.testing.assert_allclose(line.get_ydata(), expected.scores.logit.mean(0), rtol=1e-5, atol=1e-6)
    area = bootstrap_interval(curve.area("logit").tolist())
    assert figure.axes[0].get_title().split("\n")[0] == f"area {' '.join(_told(area))}"
    assert figure.get_supxlabel().startswith("logit of the class")


def _told(interval):
    return number(interval.mean, 3), f"[{number(interval.low, 3)}, {number(interval.high, 3)}]"


def test_a_text_has_curves_without_pictures_in_the_units_of_the_whole_batch():
    """Of a gradient the norm over channels decides on the order, of a contribution the sum."""
    explicand = text_toys.explicand(seeded(text_toys.Reader))
    one = text_toys.embeddings(explicand.count, seed=1)[:, :, : explicand.shape[2]]
    found = {}
    for units in ("gradient", "contribution"):
        with explicand.taken_as(one, units):
            figure = curves(explicand, {"map": one}, 1, steps=5)
            found[units] = drawn(figure.axes[0])[1].get_ydata()
            expected = explicand.curve(one, steps=5).scores.probability[1]
        assert len(figure.axes) == 2
        np.testing.assert_allclose(found[units], expected, atol=1e-6)
    assert np.abs(found["gradient"] - found["contribution"]).max() > 1e-3


def test_what_cannot_be_drawn_is_told():
    explicand = explained()
    with pytest.raises(ValueError, match="at least one attribution, got none"):
        curves(explicand, {})
    with pytest.raises(ValueError, match="sample must be a number from 0 to 1, or None for means, got 2"):
        curves(explicand, maps(), 2)
    with pytest.raises(ValueError, match="shown must be steps from 1 to 4, got 0, 5"):
        curves(explicand, maps(), 0, shown=(0, 3, 5), **OPTIONS)
    with pytest.raises(ValueError, match="shown must be steps from 1 to 3, got 4"):
        curves(explicand, maps(), 0, shown=(3, 4), grid=2, steps=14)
    assert explicand.cost.forwards == 0


def test_of_one_sample_alone_there_are_no_means():
    figure = curves(explained(1), {"ramp": ramp()[:1]}, shown=(2,), **OPTIONS)
    assert figure.get_suptitle() == "photo 0 \N{MIDDLE DOT} class 0"
    assert len(figure.axes) == 4
