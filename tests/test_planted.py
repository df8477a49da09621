"""The planted patch: what is planted, that the model sees nothing else, and what metrics and methods make of it."""

import inspect
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from xaieval.attributions.centre_blob import CentreBlob
from xaieval.attributions.constant import Constant
from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.normgrad import NormGrad
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.permuted import Permuted
from xaieval.attributions.random import Random
from xaieval.attributions.random_coarse import RandomCoarse
from xaieval.attributions.rise import RISE
from xaieval.attributions.sobol import Sobol
from xaieval.datasets.planted import Planted, patterns
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.laws import composed
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.pointing_game import PointingGame
from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.metrics.token_auprc import TokenAuprc
from xaieval.models import planted
from xaieval.models.loading import ModelError
from xaieval.unsupported import UnsupportedError

CONF = Path(__file__).parents[1] / "conf"
COUNT = 12
SENTINELS = [Random(), RandomCoarse(), Permuted(), Constant(), EdgeDetector(), CentreBlob()]
METHODS = {name: method for name, method in composed("method") if "world" not in method.needs}
METRICS = dict(composed("metric"))


def stacked(samples):
    images, masks = (torch.stack([getattr(sample, name) for sample in samples]) for name in ("input", "mask"))
    return images, masks, torch.tensor([sample.target for sample in samples])


def bound(size=56, count=COUNT, **options):
    classifier = planted.load(size=size, batch_size=64)
    samples = Planted(count, **options).load(classifier.preprocess)
    images, masks, target = stacked(samples)
    return classifier.explicand(images, target, samples.ids, mask=masks)


@pytest.fixture(scope="module")
def where():
    return bound()


@pytest.fixture(scope="module")
def contributions(where):
    """What the logit loses with each of the 14 x 14 patches alone, on its pixels: the model is additive."""
    patches = where.patches(14)
    kept = 1 - patches.spread(torch.eye(196))
    losses = torch.stack(
        [
            where.classifier.logits(image[None])[:, target] - where.classifier.logits(kept * image)[:, target]
            for image, target in zip(where.inputs, where.target, strict=True)
        ]
    )
    return patches.share(losses)


# -- what is planted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [14, 29, 56, 64])
def test_a_patch_of_its_class_lies_in_gray_noise_of_the_same_brightness(size):
    samples = Planted(8, seed=3).load(Preprocess(size, size))
    images, masks, target = stacked(samples)
    brightness = images.mean(1, keepdim=True)
    assert ((brightness > 0.3 - 1e-6) & (brightness < 0.6 + 1e-6)).all()
    color = (images - brightness).movedim(1, -1)
    assert color[~masks].abs().max() < 1e-6
    side = size * 2 // 7 // 4 * 4
    for drawn, mask, kind in zip(color, masks, target, strict=True):
        rows, columns = (mask.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
        assert rows == list(range(rows[0], rows[0] + side))
        assert columns == list(range(columns[0], columns[0] + side))
        assert mask.sum() == side**2
        red = patterns()[kind].repeat(side // 4, side // 4).flatten()[:, None] > 0
        expected = torch.where(red, torch.tensor([0.4, -0.2, -0.2]), torch.tensor([-0.2, 0.4, -0.2]))
        torch.testing.assert_close(drawn[mask], expected)


def test_any_two_patterns_agree_on_half_of_the_pixels_and_have_as_many_red_as_green():
    flat = torch.cat((torch.ones(1, 16), patterns().flatten(1)))
    torch.testing.assert_close(flat @ flat.T, 16 * torch.eye(5))


def test_samples_depend_on_seed_and_number_alone():
    preprocess = Preprocess(56, 56)
    few, many, other = (Planted(*options).load(preprocess) for options in ((5, 0), (9, 0), (5, 1)))
    assert few.ids == many.ids[:5]
    assert len(set(many.ids + other.ids)) == 14
    state = torch.get_rng_state()
    for number, sample in enumerate(few):
        assert torch.equal(sample.input, many[number].input)
        assert not torch.equal(sample.input, other[number].input)
        assert sample.sources == (sample.id,)
        assert sample.target == number % 4
    assert torch.equal(torch.get_rng_state(), state)


def test_every_place_is_as_probable():
    places = Planted(2000).load(Preprocess(56, 56)).entries
    for side in ([place.row for place in places], [place.column for place in places]):
        counts = torch.bincount(torch.tensor(side) // 4, minlength=11)
        assert len(counts) == 11
        assert ((counts - 2000 / 11).abs() < 4 * (2000 / 11) ** 0.5).all()


def test_bad_options():
    with pytest.raises(ValueError, match="Planted expected count to be at least 1, got 0"):
        Planted(0)
    with pytest.raises(DatasetError, match="at least 14 pixels a side, the model takes 13"):
        Planted().load(Preprocess(13, 13))
    with pytest.raises(ModelError, match="at least 14 pixels a side, got size=13"):
        planted.load(size=13)


def test_the_yamls_name_every_option_with_its_default():
    root = {"seed": 0, "device": None, "precision": "float32", "batch_size": "auto"}
    dataset = OmegaConf.merge(root, OmegaConf.load(CONF / "dataset" / "planted.yaml"))
    assert instantiate(dataset.planted) == Planted()
    assert set(dataset.planted) == {"_target_", "count", "seed", "name"}
    model = OmegaConf.merge(root, OmegaConf.load(CONF / "model" / "planted.yaml"))
    options = {name: model.planted[name] for name in model.planted if name != "_target_"}
    state = torch.get_rng_state()
    assert options == {name: value.default for name, value in inspect.signature(planted.load).parameters.items()}
    classifier = instantiate(model.planted)
    assert torch.equal(torch.get_rng_state(), state)
    assert (classifier.name, classifier.preprocess) == ("planted", Preprocess(56, 56))
    assert classifier.categories == ("rows", "columns", "blocks", "checkerboard", "nothing")


# -- that the model sees nothing else --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [14, 29, 56, 64, 112])
def test_logits_are_a_sum_over_the_pixels_of_the_patch(size):
    where = bound(size, 8, seed=5)
    own = torch.where(where.inputs[:, 0] > where.inputs[:, 1], where.inputs[:, 0], where.inputs[:, 1])
    others = where.inputs.sum(1) - own
    excess = ((own - others / 4 - 0.55) * where.mask).flatten(1)
    assert (excess[where.mask.flatten(1)] > 0.09).all()
    scale = 5 / (0.175 * where.mask.flatten(1).sum(1))  # .175 is the excess at brightness .45
    expected = torch.zeros(8, 5)
    expected[:, 4] = 2.5
    expected[torch.arange(8), where.target] = scale * excess.sum(1)
    torch.testing.assert_close(where.logits, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(where.logits.argmax(1), where.target)
    assert (where.clean.margin > 0.5).all()


def test_gradients_of_every_class_are_zero_outside_the_patch(where):
    for kind in range(5):
        gradient = where.retargeted(torch.full_like(where.target, kind)).gradient.movedim(1, -1)
        assert (gradient[~where.mask] == 0).all()
    assert (where.gradient.sum(1)[where.mask] > 0).all()


@pytest.mark.parametrize("removal", ["zero", "mean", "blur"])
def test_logits_stay_bit_by_bit_whatever_else_is_removed(where, removal):
    remove = where.removal(removal)
    generator = torch.Generator().manual_seed(0)
    for share in (1.0, 0.5, 0.1):
        gone = (torch.rand(COUNT, 1, 56, 56, generator=generator) < share) & ~where.mask[:, None]
        (batch,) = where.batches(1)
        assert torch.equal(where.classifier.logits(remove(batch, gone.float())), where.logits)


def test_logits_stay_bit_by_bit_whatever_gray_stands_elsewhere(where):
    elsewhere = [torch.full((COUNT, 1, 56, 56), value) for value in (0.0, 0.5, 1.0)]
    noise = torch.rand(COUNT, 1, 56, 56, generator=torch.Generator().manual_seed(0))
    for gray in (*elsewhere, noise, noise.round()):
        changed = torch.where(where.mask[:, None], where.inputs, gray)
        assert torch.equal(where.classifier.logits(changed), where.logits)


@pytest.mark.parametrize("removal", ["zero", "mean", "blur"])
def test_a_removed_patch_is_nothing(where, removal):
    logits = where.classifier.logits(torch.where(where.mask[:, None], 0, where.inputs))
    assert torch.equal(logits, torch.tensor([0, 0, 0, 0, 2.5]).expand(COUNT, 5))
    (batch,) = where.batches(1)
    assert torch.equal(where.classifier.logits(where.removal(removal)(batch, where.mask[:, None].float())), logits)


def test_contributions_are_complete_and_lie_on_the_patch(where, contributions):
    torch.testing.assert_close(contributions.flatten(1).sum(1), where.clean.logit, atol=1e-4, rtol=0)
    assert torch.equal(contributions[:, 0] > 1e-6, where.mask)


# -- metrics of localization -----------------------------------------------------------------------------------------


def of_category(category):
    """Metrics that take both masks and contributions; what takes gradients alone has nothing to compare.

    Pooled metrics are left out, as they give no value for each sample.
    """
    return [
        name
        for name, metric in METRICS.items()
        if metric.category == category and {"importance", "contribution"} <= set(metric.accepts) and not metric.pooled
    ]


@pytest.mark.parametrize("name", of_category("localization"))
def test_the_mask_is_the_best_map_and_its_complement_the_worst(where, contributions, name):
    metric, mask = METRICS[name], where.mask[:, None].float()
    best, worst = (metric(where, maps, units="importance") for maps in (mask, 1 - mask))
    torch.testing.assert_close(metric.raw(where, mask), torch.ones(COUNT))
    torch.testing.assert_close(metric(where, contributions, units="contribution"), best)
    if isinstance(metric, PointingGame):  # the complement has its maxima near the patch too
        corner = torch.zeros_like(mask)
        corner[..., 0, 0] = 1
        far = ~metric.region(where, where.mask)[:, 0, 0]
        assert far.sum() > 3
        worst, other = metric(where, corner)[far], worst
        chance = metric.chance(where)[far]
        torch.testing.assert_close(worst, -chance / (1 - chance))
        assert (other < 0).all()
    elif isinstance(metric, TokenAuprc):  # all that is marked comes last, the i-th with precision i / (n - m + i)
        marked, count = where.mask.flatten(1).sum(1), where.mask[0].numel()
        last = [float((torch.arange(1, m + 1) / (count - m + torch.arange(1, m + 1))).mean()) for m in marked.tolist()]
        torch.testing.assert_close(metric.raw(where, 1 - mask), torch.tensor(last))
    else:
        torch.testing.assert_close(metric.raw(where, 1 - mask), torch.zeros(COUNT))
    for sentinel in SENTINELS:
        values = metric(where, sentinel(where), units=sentinel.units)
        assert (values <= best).all()
        assert (values >= worst.min() - 1e-6).all()


JOINT = ("token_auprc", "token_auprc_raw", "token_iou")
"""What depends on which features are found together, so that chance is that of independent draws."""


@pytest.mark.parametrize("name", of_category("localization"))
def test_sentinels_of_localization_stand_at_chance(where, name):
    """A constant map exactly, drawn ones on average: coarse ones where a value is a mean over features."""
    metric = METRICS[name]
    chance = metric.chance(where) if name == "token_auprc_raw" else torch.zeros(COUNT)
    torch.testing.assert_close(metric(where, Constant()(where)), chance, atol=1e-5, rtol=0)
    kind = Random if name in JOINT else RandomCoarse
    drawn = torch.stack([metric(where, kind(seed=seed)(where)) - chance for seed in range(40)])
    assert (
        drawn.mean().abs() <= 4 * drawn.std() / drawn.numel() ** 0.5
    )  # both are 0 where random features match nothing


REAL = [IntegratedGradients(), Occlusion(), RISE(), Sobol(), GradCAM(), NormGrad()]


@pytest.fixture(scope="module")
def sentinel_ranks(where):
    return torch.stack([RelevanceRank()(where, method(where)) for method in SENTINELS])


@pytest.mark.parametrize("method", REAL, ids=lambda method: type(method).__name__)
def test_real_methods_beat_every_sentinel_on_every_sample(where, sentinel_ranks, method):
    values = RelevanceRank()(where, method(where))
    assert (values > sentinel_ranks.amax(0)).all()
    assert values.min() > 0.6


ELSEWHERE = {"deconvnet": "it hands every cell the pattern of the class, whether it is there or not"}
"""Methods that find no patch, with the reason."""

COARSE = {"beam_search": 0.3, "leave_one_out": 0.5, "leave_one_out_absolute": 0.5}
"""Methods whose pieces reach over the patch, and what they find at least."""


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.sentinel])
def test_every_method_finds_the_patch(name):
    where = bound(count=4)
    try:
        values = RelevanceRank()(where, METHODS[name](where))
    except UnsupportedError as error:
        pytest.skip(str(error))
    if name in ELSEWHERE:
        assert (values.abs() < 0.1).all()
    else:
        assert (values > COARSE.get(name, 0.6)).all()


# -- metrics of faithfulness -----------------------------------------------------------------------------------------

EQUAL = ("monotonicity",)
"""Additive in the patches with no negative contribution, every order makes the score grow at every step."""

BLIND = ("monotonicity_correlation",)
"""Blind to sign by definition."""


def scored(metric, where, maps, units):
    return metric(where, maps, method=Gradient(), units=units)


@pytest.mark.parametrize("name", of_category("faithfulness"))
def test_the_exact_map_beats_coarse_noise_and_its_own_negative(where, contributions, name):
    metric = METRICS[name]
    sign = 1 if metric.higher_is_better else -1
    exact, negated = (sign * scored(metric, where, maps, "contribution") for maps in (contributions, -contributions))
    random = sign * scored(metric, where, RandomCoarse()(where), "importance")
    if name in EQUAL:
        for values in (exact, negated, random):
            torch.testing.assert_close(values, torch.ones(COUNT))
        return
    assert (exact > random).all()
    if name in BLIND:
        torch.testing.assert_close(exact, negated)
    else:
        assert (random > negated).float().mean() > 0.9  # a coarse draw may be nearly as bad as the worst
        assert (exact > negated).all()


@pytest.mark.parametrize("name", [name for name in of_category("faithfulness") if "corr" in name or "mu_" in name])
def test_a_constant_map_correlates_with_nothing(where, name):
    values, reasons = METRICS[name].evaluate(where, Constant()(where), Gradient())
    assert values.isnan().all()
    assert reasons["constant prediction"].all()


@pytest.mark.parametrize("name", ["faithfulness_correlation", "faithfulness_estimate", "mu_fidelity", "sensitivity_n"])
def test_the_exact_map_is_perfect_where_the_model_is_additive(where, contributions, name):
    metric = METRICS[name]
    for factor in (1, -1):
        values = scored(metric, where, factor * contributions, "contribution")
        torch.testing.assert_close(values, torch.full((COUNT,), float(factor)), atol=1e-4, rtol=0)


def test_the_exact_map_is_faithful_without_a_rest(where, contributions):
    values = [scored(METRICS["infidelity"], where, factor * contributions, "contribution") for factor in (1, -1)]
    torch.testing.assert_close(torch.stack(values), torch.tensor([[0.0], [1.0]]).expand(2, COUNT), atol=1e-5, rtol=0)


def test_deletion_of_sentinels_lies_where_an_additive_model_puts_it(where, contributions):
    """In logits: noise at half of the score on average, and the negated map the mirror image of the exact one."""
    metric, score = Deletion(output="logit"), where.clean.logit
    exact, negated = (scored(metric, where, maps, "contribution") for maps in (contributions, -contributions))
    torch.testing.assert_close(exact + negated, score, atol=1e-4, rtol=1e-4)
    drawn = torch.stack([metric(where, Random(seed=seed)(where)) for seed in range(40)]) / score
    assert abs(drawn.mean() - 0.5) < 4 * drawn.std() / drawn.numel() ** 0.5
    assert (exact / score < drawn.amin(0)).all()
    for sentinel in (EdgeDetector(), CentreBlob(), Constant()):
        values = metric(where, sentinel(where)) / score
        assert ((values > exact / score) & (values < negated / score)).all()
        assert abs(values.mean() - 0.5) < 0.25
