"""Vectors: features without places; on a linear head every exact method gives weight times input."""

import pytest
import torch
from known_answers import normal, random
from torch import nn

from xaieval import explain
from xaieval.attributions.deeplift import DeepLift
from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.guided_ig import GuidedIG
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.kernel_shap import KernelSHAP
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.classifier import Classifier
from xaieval.config import default
from xaieval.datasets.base import Sample
from xaieval.datasets.preprocess import DatasetError
from xaieval.laws import composed
from xaieval.laws.components import SMALL, limited
from xaieval.metrics.completeness_gap import CompletenessGap
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.input_invariance import InputInvariance
from xaieval.metrics.sensitivity_n import SensitivityN
from xaieval.modalities.vectors import Vectors
from xaieval.models.bottleneck_head import ConceptHead
from xaieval.unsupported import UnsupportedError

COUNT, FEATURES, CLASSES = 5, 8, 4
METHODS, METRICS = dict(composed("method")), dict(composed("metric"))


def head():
    layer = nn.Linear(FEATURES, CLASSES)
    with torch.no_grad():
        layer.weight.copy_(normal(CLASSES, FEATURES, seed=1))
        layer.bias.copy_(normal(CLASSES, seed=2))
    return ConceptHead(layer)


def inputs():
    return normal(COUNT, 1, FEATURES, seed=3)


def work(module=None, given=None, **options):
    mask = random(COUNT, FEATURES, seed=4) > 0.6
    mask[:, 0], mask[:, 1] = True, False
    classifier = Classifier(module or head(), modality=Vectors(), batch_size=16)
    given = inputs() if given is None else given
    return classifier.explicand(given, **{"target": [0, 1, 2, 3, 0], "mask": mask[: len(given)]} | options)


def weights(explicand):
    return explicand.classifier.weights["1.weight"][explicand.target][:, None]


# -- exact answers --


@pytest.mark.parametrize(
    "method",
    [
        InputXGradient(),
        IntegratedGradients(steps=3),
        GuidedIG(),
        DeepLift(),
        FeatureAblation(grid=2),
        default("method", "leave_one_out"),
        KernelSHAP(samples=100),
        default("method", "lrp"),
    ],
    ids=str,
)
def test_every_exact_method_gives_weight_times_input(method):
    explicand = work()
    torch.testing.assert_close(method(explicand), weights(explicand) * explicand.inputs, rtol=1e-4, atol=1e-5)


def test_gradients_are_the_weights():
    explicand = work()
    for method in (Gradient(), SmoothGrad(samples=3)):
        torch.testing.assert_close(method(explicand), weights(explicand).expand(COUNT, 1, FEATURES))


def test_the_exact_map_keeps_what_metrics_ask_of_it():
    explicand = work()
    exact = InputXGradient()(explicand)
    torch.testing.assert_close(CompletenessGap()(explicand, exact), torch.zeros(COUNT), atol=1e-5, rtol=0)
    torch.testing.assert_close(Infidelity(samples=20)(explicand, exact), torch.zeros(COUNT), atol=1e-5, rtol=0)
    torch.testing.assert_close(SensitivityN(samples=20)(explicand, exact), torch.ones(COUNT))


def test_deletion_takes_away_one_feature_after_the_other():
    """The area below the curve, by hand."""
    explicand = work()
    exact, areas = (weights(explicand) * explicand.inputs)[:, 0], []
    for row in range(COUNT):
        x, points = explicand.inputs[row].clone(), []
        for place in [None, *exact[row].argsort(descending=True).tolist()]:
            if place is not None:
                x[0, place] = 0
            points.append(explicand.classifier.logits(x[None]).softmax(1)[0, explicand.target[row]])
        areas.append(torch.trapezoid(torch.stack(points), dx=1 / FEATURES))
    found = Deletion(grid=3, steps=100)(explicand, exact[:, None])
    torch.testing.assert_close(found, torch.stack(areas), rtol=1e-4, atol=1e-5)


def test_absent_features_are_no_pieces():
    present = torch.ones(COUNT, FEATURES, dtype=torch.bool)
    present[:, -2:] = False
    explicand = work(present=present)
    pieces = explicand.patches(14)
    assert pieces.count == FEATURES
    assert pieces.present.tolist() == present.tolist()
    found = default("method", "leave_one_out")(explicand)
    torch.testing.assert_close(found, weights(explicand) * explicand.inputs * present[:, None], rtol=1e-4, atol=1e-5)


# -- what inputs are measured with --


def test_removals_and_units():
    explicand = work()
    flat = inputs()[:, 0]
    assert torch.equal(explicand.baseline("zero"), torch.zeros(COUNT, 1, FEATURES))
    torch.testing.assert_close(explicand.baseline("mean")[:, 0], flat.mean(1, keepdim=True).expand(-1, FEATURES))
    torch.testing.assert_close(explicand.scale, flat.square().mean(1).sqrt())
    torch.testing.assert_close(explicand.range, flat.amax(1) - flat.amin(1))
    many = work(given=3 * torch.ones(1, 1, FEATURES), target=0)
    noise = torch.cat([many.modality.noise(random(1000, 1, FEATURES, seed=5), many.scale)])
    assert float(noise.square().mean().sqrt()) == pytest.approx(3, rel=0.05)
    assert abs(float(noise.mean())) < 0.15


def test_a_shift_is_in_the_unit_of_each_vector():
    """On a linear model input times gradient moves by `|k| scale |w|`."""
    explicand = work()
    found = InputInvariance(shift=2.0)(explicand, InputXGradient()(explicand), InputXGradient())
    weight = weights(explicand)[:, 0]
    size = (weight * explicand.inputs[:, 0]).norm(dim=1)
    torch.testing.assert_close(found, 2 * explicand.scale * weight.norm(dim=1) / size)


def test_the_order_of_features_means_nothing():
    """A head with its concepts in another order gives the same scores, in that order."""
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    turned = head()
    with torch.no_grad():
        turned[1].weight.copy_(turned[1].weight[:, order].clone())
    for method in (KernelSHAP(samples=100), default("method", "leave_one_out"), default("method", "greedy_deletion")):
        first, second = method(work()), method(work(turned, inputs()[..., order]))
        torch.testing.assert_close(second, first[..., order], rtol=1e-4, atol=1e-4)


# -- everything else runs, or refuses in a sentence --

NO_LAYER = "has no layer with one output for each token"
REFUSED = {
    **dict.fromkeys(
        (
            *("ablation_cam", "contrastive_excitation_backprop", "eigen_cam", "excitation_backprop", "grad_cam"),
            *("grad_cam_plus_plus", "hires_cam", "layer_cam", "linear_approximation", "meta_saliency", "normgrad"),
            *("score_cam", "selective_normgrad", "xgrad_cam", "relative_representation_stability"),
        ),
        NO_LAYER,
    ),
    **dict.fromkeys(("attention_relevance", "attention_rollout"), "computes no attention over tokens"),
    **dict.fromkeys(("guided_backprop", "deconvnet"), "calls no relu, relu6 or hardtanh"),
    **dict.fromkeys(("pointing_game", "pointing_game_small", "token_pointing"), "a distance of features means nothing"),
    "blur_ig": "a blur means nothing for this kind of input (vector)",
    "causal_path": "has no layer that takes and gives activations",
    "centre_blob": "a middle means nothing",
    "edge_detector": "an edge means nothing",
    "occlusion": "a window of neighbors means nothing",
    "random_logit": "a window of neighbors means nothing",
    "road": "interpolating what is gone means nothing",
    "coam": "has no concepts",
}
UNDEFINED = {"racu": "signed", "masf": "no reference"}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_or_refuses(name):
    method = limited(METHODS[name], SMALL)
    if name in REFUSED:
        with pytest.raises(UnsupportedError) as refused:
            method(work())
        assert REFUSED[name] in str(refused.value)
    elif not {"parts", "world"} & set(method.needs):
        found = method(work())
        assert tuple(found.shape) == (COUNT, 1, FEATURES)
        assert bool(found.isfinite().all())


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_scores_or_refuses(name):
    metric, method, explicand = limited(METRICS[name], SMALL), InputXGradient(), work(target=None)
    if {"parts", "world"} & set(metric.needs):
        return
    if name in REFUSED:
        with pytest.raises(UnsupportedError) as refused:
            metric(explicand, method(explicand), method)
        assert REFUSED[name] in str(refused.value)
    else:
        values, reasons = metric.evaluate(explicand, method(explicand), method)
        assert len(values) == COUNT
        held = [reason for reason, where in reasons.items() if bool(where.any())]
        assert held[:1] == [reason for reason in reasons if reason.startswith(UNDEFINED.get(name, "-"))]


# -- as samples --


def test_a_vector_is_a_sample():
    mask = torch.ones(FEATURES, dtype=torch.bool)
    sample = Sample("one", -3 * torch.ones(1, FEATURES), 0, mask, ("one",))  # no pixels: any numbers
    assert sample.input.min() == -3
    for given, marked, sentence in (
        (torch.full((1, 4), torch.nan), None, "'one': 4 scores are NaN or infinite; replace them"),
        (
            torch.zeros(1, 4, dtype=torch.double),
            None,
            "expected the input as float32 .*, or .1, concepts., got float64",
        ),
        (torch.zeros(2, 4), None, r"got float32 of shape \(2, 4\)"),
        (torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool), r"expected the mask as bool of shape \(4,\)"),
    ):
        with pytest.raises(DatasetError, match=sentence):
            Sample("one", given, 0, marked, ("one",))


def test_explain_takes_one_vector_or_many():
    classifier = Classifier(head(), modality=Vectors())
    many = explain(classifier, inputs(), "input_x_gradient", target=1)
    assert tuple(many.shape) == (COUNT, 1, FEATURES)
    torch.testing.assert_close(explain(classifier, inputs()[2], "input_x_gradient", target=1), many[2:3])


def test_names_tell_models_apart():
    """The key of kept results holds the modality's repr."""
    assert repr(Vectors(names=("a", "b"))) != repr(Vectors(names=("b", "a")))
