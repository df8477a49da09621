"""Segments: SLIC superpixels and grid patches with labels of each sample, against loops."""

import pytest
import skimage.data
import torch
from known_answers import bind, constant, normal, random

from xaieval.modalities.images import Images
from xaieval.segments import check_segments, segments_of


def blocks(count=2, side=24):
    """Images of four flat quarters in other colors for each sample."""
    colors = random(count, 3, 2, 2)
    return colors.repeat_interleave(side // 2, 2).repeat_interleave(side // 2, 3)


def explicand(inputs, **options):
    return bind(constant(), inputs, **options)


@pytest.mark.parametrize("kind", ["slic", "grid"])
@pytest.mark.parametrize("size", [(8, 8), (13, 10), (24, 24)])
def test_sums_and_spreads_by_a_loop(kind, size):
    segments = segments_of(explicand(random(3, 3, *size)), kind, 4)
    features, values = normal(3, *size), normal(3, 16)
    sums, spread, share = segments.sum(features), segments.spread(values), segments.share(values)
    assert segments.count == 16
    assert spread.shape == share.shape == (3, 1, *size)
    for sample in range(3):
        for number in range(16):
            inside = segments.labels[sample] == number
            area = int(inside.sum())
            assert segments.area[sample, number] == area
            assert segments.present[sample, number] == (area > 0)
            torch.testing.assert_close(sums[sample, number], features[sample][inside].sum(), rtol=1e-5, atol=1e-5)
            assert torch.equal(spread[sample, 0][inside], values[sample, number].expand(area))
            shared = values[sample, number] if area else torch.tensor(0.0)
            torch.testing.assert_close(share[sample, 0][inside].sum(), shared, rtol=1e-5, atol=1e-6)


def test_superpixels_follow_edges_and_a_grid_does_not():
    """The edges of a flat disc: superpixels keep to one side up to the blur, patches do not."""
    place = torch.arange(48) - 24
    disc = ((place[:, None] ** 2 + place**2) < 15**2).float()
    work = explicand(disc.expand(1, 3, -1, -1))
    mixed = {}
    for kind in ("slic", "grid"):
        segments = segments_of(work, kind, 6)
        inside = segments.sum(disc[None]) / segments.area.clamp(min=1)
        mixed[kind] = float((segments.area * torch.minimum(inside, 1 - inside)).sum() / 48**2)
    assert mixed["slic"] < 0.5 * mixed["grid"]


@pytest.mark.parametrize("count", [1, 2, 9, 20, 50])
def test_never_more_superpixels_than_asked_for(count):
    """Scikit-image gives 63 for 50 on a black image of 16 x 16 pixels."""
    inputs = torch.cat((torch.zeros(1, 3, 16, 16), random(1, 3, 16, 16)))
    labels = Images().superpixels(inputs, count, None)
    assert labels.min() == 0
    assert labels.max() < count


def test_a_photo_has_nearly_as_many_superpixels_as_asked_for():
    photo = torch.from_numpy(skimage.data.astronaut()[::3, ::3]).permute(2, 0, 1)[None] / 255
    assert Images().superpixels(photo, 49, None).unique().numel() > 40


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_number_of_channels_has_superpixels(channels):
    labels = Images().superpixels(random(2, channels, 20, 20), 4, None)
    assert labels.shape == (2, 20, 20)


@pytest.mark.parametrize("kind", ["slic", "grid"])
def test_absent_features_belong_to_no_segment_and_their_values_do_not_count(kind):
    present = torch.ones(1, 24, 24, dtype=torch.bool)
    present[:, :, 16:] = False
    inputs = blocks(1)
    other = torch.where(present[:, None], inputs, 1 - inputs)
    first, second = (segments_of(explicand(values, present=present), kind, 3) for values in (inputs, other))
    assert torch.equal(first.labels, second.labels)
    assert bool((first.labels[~present] == 9).all())
    assert float(first.area.sum()) == 24 * 16
    assert not first.spread(torch.ones(1, 9))[:, 0][~present].any()
    if kind == "grid":
        assert first.present.view(3, 3).tolist() == [[True, True, False]] * 3


def test_each_pair_has_the_segments_of_its_sample():
    work = explicand(random(3, 3, 16, 16), batch_size=4)
    segments, values = segments_of(work, "slic", 3), normal(3, 9)
    expected, found = segments.spread(values), torch.empty(3, 5, 1, 16, 16)
    for batch in work.batches(5):
        batch.write(found, segments.of(batch).spread(batch.of_rows(values)))
    assert torch.equal(found, expected[:, None].expand(-1, 5, -1, -1, -1))


def test_neighbors_do_not_matter_and_segments_are_made_once():
    work = explicand(random(3, 3, 16, 16))
    segments = segments_of(work, "slic", 3)
    assert segments_of(work, "slic", 3) is segments
    assert segments_of(work, "grid", 3) is not segments
    alone = segments_of(explicand(work.inputs[:1]), "slic", 3)
    assert torch.equal(alone.labels, segments.labels[:1])


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="Mine: segments must be one of slic, grid, got 'felzenszwalb'"):
        check_segments("Mine", "felzenszwalb")
    with pytest.raises(ValueError, match="grid must be at least 1 patch per side, got 0"):
        segments_of(explicand(random(1, 3, 8, 8)), "grid", 0)
