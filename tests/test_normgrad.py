"""NormGrad against the identity layer it stands for, really inserted."""

import pytest
import torch
from known_answers import constant, random
from networks import TARGET, assert_close, explained, network
from torch import nn
from torch.nn.functional import interpolate

from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.normgrad import NormGrad
from xaieval.classifier import Classifier

LAYER = "2"  # the second convolution: (N, 8, 4, 5) for inputs (N, 3, 16, 20)


def plain(module, inputs, **options):
    """Without normalization, so that the module's parts can be called by hand."""
    return Classifier(module, batch_size=2).explicand(inputs, TARGET, **options)


def summands(module, inputs):
    """The gradient of the logit at identity weights of each position's own, `(N, h, w, K, K)`, by autograd."""
    output = module[: int(LAYER) + 1](inputs)
    count, channels, height, width = output.shape
    weights = torch.eye(channels).repeat(count, height, width, 1, 1).requires_grad_()
    inserted = torch.einsum("nhwij,njhw->nihw", weights, output)
    logits = module[int(LAYER) + 1 :](inserted)
    return torch.autograd.grad(logits.gather(1, torch.tensor(TARGET)[:, None]).sum(), weights)[0]


def upsampled(maps):
    return interpolate(maps[:, None], size=(16, 20), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("inplace", [False, True])
def test_is_the_norm_of_each_position_s_part_of_an_inserted_layer_s_gradient(inplace):
    inputs = random(3, 3, 16, 20)
    expected = summands(network(), inputs).flatten(3).norm(dim=3)
    assert_close(NormGrad((LAYER,))(plain(network(inplace=inplace), inputs)), upsampled(expected), 1e-5)


def test_the_parts_sum_to_the_gradient_of_one_inserted_convolution():
    """What the extraction means: one identity convolution for all positions gets the sum."""
    module, inputs = network(), random(3, 3, 16, 20)
    inserted = nn.Conv2d(8, 8, 1, bias=False)
    inserted.weight.data = torch.eye(8)[:, :, None, None]
    longer = nn.Sequential(*module[:3], inserted, *module[3:])
    logits = longer(inputs).gather(1, torch.tensor(TARGET)[:, None])
    (whole,) = torch.autograd.grad(logits.sum(), inserted.weight)
    activation, gradient = plain(module, inputs).activations((LAYER,))[LAYER]
    parts = torch.einsum("nihw,njhw->ij", gradient, activation)
    assert_close(parts, whole[:, :, 0, 0], 1e-5)
    assert_close(summands(module, inputs).sum((0, 1, 2)), whole[:, :, 0, 0], 1e-5)


def test_before_global_pooling_the_classes_differ_by_a_factor_alone():
    """There the gradient is the same at every position, so the map is |x_u| whatever the class."""
    module, inputs = network(), random(3, 3, 16, 20)
    one, two = (NormGrad(("3",))(explained(module, inputs, target)) for target in (0, 3))
    ratio = (one / two).flatten(1)
    assert_close(ratio, ratio.mean(1, keepdim=True).expand_as(ratio), 1e-5)


def test_rescaling_the_layer_changes_nothing():
    """x -> a x and g -> g / a."""
    module, scaled = network(), network()
    for parameter in scaled[2].parameters():
        parameter.data *= 7
    scaled[6].weight.data /= 7
    assert_close(NormGrad((LAYER,))(explained(scaled)), NormGrad((LAYER,))(explained(module)), 1e-5)


def test_several_layers_multiply_to_a_geometric_mean_of_scaled_maps():
    module, inputs = network(), random(3, 3, 16, 20)
    product = torch.ones(3, 1, 16, 20)
    for layer in ("0", "2", "3"):
        for values, factor in zip(NormGrad((layer,))(explained(module, inputs)), product, strict=True):
            factor *= (values - values.min()) / (values.max() - values.min())
    explicand = explained(module, inputs)
    assert_close(NormGrad(("0", "2", "3"))(explicand), product ** (1 / 3), 1e-4)  # a root magnifies rounding near 0
    assert explicand.cost[:2] == (1, 1)


def test_a_layer_without_contrast_leaves_the_product_alone():
    """A 1 x 1 activation is constant after upsampling: it counts as 1, and as 0 where it is 0."""
    last = network()[6]
    module = nn.Sequential(*network()[:4], nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    inputs = random(3, 3, 16, 20)
    single = NormGrad(("2",))(explained(module, inputs)).flatten(1)
    scaled = (single - single.amin(1, keepdim=True)) / (single.amax(1) - single.amin(1))[:, None]
    both = NormGrad(("2", "4"))(explained(module, inputs))
    assert_close(both.flatten(1), scaled.sqrt(), 1e-3)  # a root magnifies rounding near 0
    last.weight.data.zero_()
    assert not NormGrad(("2", "4"))(explained(module, inputs)).any()


def test_the_default_layer_is_the_last_whose_input_is_larger():
    inputs = random(3, 3, 16, 20)
    explicand = explained(network(), inputs)
    values = NormGrad()(explicand)
    assert torch.equal(values, NormGrad((LAYER,))(explained(network(), inputs)))
    assert explicand.cost[:2] == (1, 1)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = NormGrad(("0", "2"))(explained(network(), inputs))
    assert_close(NormGrad(("0", "2"))(explained(network(), inputs, batch_size=size)), reference, 1e-5)


def test_wrong_layers_are_told():
    explicand = explained(network())
    with pytest.raises(ValueError, match="has no layer 'features'; close names"):
        NormGrad(("features",))(explicand)
    with pytest.raises(ValueError, match=r"layer '5' gives \(3, 8\), expected a spatial output"):
        NormGrad(("5",))(explicand)
    with pytest.raises(ValueError, match="no layer with a spatial output"):
        NormGrad()(Classifier(constant()).explicand(random(1, 3, 8, 8), 0))


def test_real_reads_the_last_convolution_of_the_default_block():
    explicand = plain(network(), random(3, 3, 16, 20))
    layer = explicand.convolution("normgrad")
    assert layer == LAYER
    assert_close(NormGrad(extraction="real")(explicand), NormGrad((layer,), "real")(explicand))
    rectifier = Classifier(network(), layers={"normgrad": "3"}).explicand(random(3, 3, 16, 20), TARGET)
    with pytest.raises(ValueError, match="layer '3' holds no convolution"):
        NormGrad(extraction="real")(rectifier)


def test_grad_cam_and_the_linear_approximation_meet_before_global_pooling():
    """There the gradient is its own mean over positions."""
    explicand = plain(network(), random(3, 3, 16, 20))
    linear = NormGrad(("3",), "scaling", "sum")(explicand)
    assert_close(linear, GradCAM("3", relu=False)(explicand), 1e-5)
    assert bool((linear < 0).any())


def test_the_bias_map_is_constant_before_global_pooling():
    maps = NormGrad(("3",), "bias", "max_abs")(plain(network(), random(3, 3, 16, 20))).flatten(1)
    assert_close(maps, maps[:, :1].expand_as(maps), 1e-6)


def test_the_linear_approximation_sums_to_the_score_of_a_homogeneous_tail():
    """Without biases behind it, `sum_u,k x g = f`; at the layer's own resolution, which nearest neighbors keep."""
    explicand = plain(network(bias=False), random(3, 3, 16, 20))
    activation, gradient = explicand.activations(("1",))["1"]
    maps = NormGrad(("1",), "scaling", "sum")._map(explicand, "1", activation, gradient)
    assert_close(maps.sum((1, 2, 3)), explicand.clean.logit, 1e-5)


@pytest.mark.parametrize(
    ("weights", "shares"), [("uniform", (0.5, 0.5)), ("linear", (1 / 3, 2 / 3)), ((3.0, 1.0), (0.75, 0.25))]
)
def test_weighted_geometric_mean(weights, shares):
    explicand = plain(network(), random(3, 3, 16, 20))
    first, second = (scaled(NormGrad((layer,))(explicand)) for layer in ("0", "2"))
    found = NormGrad(("0", "2"), weights=weights)(explicand)
    assert_close(found, first ** shares[0] * second ** shares[1], 1e-5)
    assert_close(NormGrad(("0", "2"), combination="product")(explicand), first * second, 1e-5)


def scaled(maps):
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low)


def test_five_layers_cost_one_forward_and_one_backward():
    explicand = plain(network(), random(3, 3, 16, 20))
    NormGrad(("0", "1", "2", "3", "4"))(explicand)
    assert explicand.cost[:2] == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extraction": "conv5x5"}, "extraction must be one of bias, scaling, conv1x1.* got 'conv5x5'"),
        ({"aggregation": "mean"}, "aggregation must be one of sum, norm.* got 'mean'"),
        ({"combination": "sum"}, "combination must be one of geometric, product, got 'sum'"),
        ({"weights": "quadratic"}, "weights must be uniform or linear or numbers, got 'quadratic'"),
        ({"weights": (1.0, 2.0), "layers": ("0",)}, "weights must be 1 numbers"),
        ({"weights": (0.0, 0.0), "layers": ("0", "2")}, "do not sum to 0"),
        ({"weights": (-1.0, 3.0), "layers": ("0", "2")}, "at least 0"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with pytest.raises(ValueError, match=message):
        NormGrad(**options)


def test_the_default_layers_of_normgrad_and_grad_cam_share_one_pass():
    explicand = plain(network(), random(3, 3, 16, 20))
    assert explicand.layer("normgrad") != explicand.layer("grad_cam")
    normgrad, grad_cam = NormGrad()(explicand), GradCAM()(explicand)
    assert explicand.cost[:2] == (1, 1)
    for method, shared in ((NormGrad(), normgrad), (GradCAM(), grad_cam)):
        alone = plain(network(), random(3, 3, 16, 20))
        assert_close(method(alone), shared, 1e-6)
        assert alone.cost[:2] == (1, 1)
