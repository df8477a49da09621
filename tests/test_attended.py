"""What a module attends to goes with the rows of its inputs, through every call of every method and metric."""

import inspect

import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from known_answers import bind, ids, random
from torch import nn

from xaieval.adapters import as_method
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.classifier import Classifier
from xaieval.laws import composed
from xaieval.laws.components import SMALL, limited
from xaieval.laws.part_toys import Named
from xaieval.laws.toys import General, Ignoring, Transformer, classes, images, names, seeded
from xaieval.unsupported import UnsupportedError

METHODS = dict(composed("method"))
METRICS = dict(composed("metric"))
NETWORKS = {"general": General, "transformer": Transformer}


class Reading(nn.Module):
    """Reads what is attended alone; counts its calls."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, inputs, attended):
        assert attended.dtype == torch.bool
        assert attended.shape == (len(inputs), *inputs.shape[2:])
        return self.module(inputs * attended[:, None])


def attended(count=3, side=16):
    """Another part of each sample."""
    return random(count, side, side, seed=7) > torch.tensor([0.1, 0.3, 0.6])[:count, None, None]


def together(network, **options):
    """Three samples in batches of two, which share no attended features."""
    there = attended()
    masks = random(3, 16, 16, seed=8) > 0.7
    classifier = Classifier(Reading(seeded(network)), batch_size=2, modality=Named())
    return classifier.explicand(images(), classes(3), names(3), masks, there, there, **options)


def alone(network):
    """Each sample with a model of one argument that has its attended features built in."""
    there, masks = attended(), random(3, 16, 16, seed=8) > 0.7
    for row in range(3):
        part = slice(row, row + 1)
        classifier = Classifier(Ignoring(seeded(network), there[row]), batch_size=2, modality=Named())
        yield classifier.explicand(images()[part], classes(3)[part], names(3)[part], masks[part], there[part])


def agree(first, second, tolerance=1e-4):
    largest = max(1e-4, float(second.abs().nan_to_num().max()))  # CAMs of a tiny transformer are rounding below 1e-8
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance * largest, equal_nan=True)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_method_hands_each_row_what_it_attends_to(name, network):
    method, separate = limited(METHODS[name], SMALL), list(alone(NETWORKS[network]))
    try:
        expected = torch.cat([method(work) for work in separate])
    except UnsupportedError:
        with pytest.raises(UnsupportedError):
            method(together(NETWORKS[network]))
    else:
        agree(method(together(NETWORKS[network])), expected)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_hands_each_row_what_it_attends_to(name):
    metric, map_ = limited(METRICS[name], SMALL), random(3, 1, 16, 16, seed=3) - 0.3
    units = next(units for units in ("importance", "gradient", "contribution") if units in metric.accepts)
    map_ = map_.expand(-1, 3, -1, -1).contiguous() if units == "gradient" else map_
    expected = [metric(work, map_[row : row + 1].clone(), Gradient(), units) for row, work in enumerate(alone(General))]
    agree(metric(together(General), map_, Gradient(), units), torch.cat(expected))


def test_a_refusal_asks_for_its_layer_with_the_rows():
    """The second call of a model, which finds out the layer that has no rule, needs what is attended too."""
    with pytest.raises(UnsupportedError, match="LayerNorm"):
        METHODS["lrp"](together(Transformer))


def test_weights_and_logits():
    work, separate = together(General), list(alone(General))
    agree(work.logits, torch.cat([one.logits for one in separate]))
    gradients = [one.weight_gradients() for one in separate]
    for name, gradient in work.weight_gradients().items():
        agree(gradient, sum(one[name] for one in gradients) / 3)


def test_copies_and_parts_keep_their_rows():
    work, there = together(General), attended()
    for number, part in enumerate(work.each()):
        assert torch.equal(part.attended, there[number : number + 1])
    for batch in work.batches(3):
        copies = batch.copies(batch.inputs)
        assert torch.equal(copies.attended, there[batch.samples])
        agree(copies.clean.logit, batch.of_rows(work.clean.logit))
    assert torch.equal(work.retargeted(work.target).attended, there)
    agree(work.shifted(0.5).clean.logit, Classifier(Reading(seeded(General))).scores(*_inputs(work)).logit)


def _inputs(work):
    """Masked after the shift: the model's first layer takes the constant off before it reads anything."""
    return work.inputs, work.target, work.attended


def test_strangers_get_their_rows():
    captum = as_method(CaptumIntegratedGradients, units="contribution")
    work, separate = together(General), list(alone(General))
    agree(captum(work), torch.cat([captum(one) for one in separate]))

    def gradient(model, inputs, target):
        inputs.requires_grad_()
        return torch.autograd.grad(model(inputs).gather(1, target[:, None]).sum(), inputs)[0]

    agree(as_method(gradient)(work), work.gradient)


def test_a_stranger_with_other_rows_has_to_say_which():
    def twice(model, inputs, target):
        model(torch.cat((inputs, inputs)))

    def rightly(model, inputs, target):
        rows = model(torch.cat((inputs, inputs)), torch.cat((model.attended, model.attended)))
        return rows[: len(inputs), :1, None, None].expand(-1, 1, 16, 16)

    work = together(General)
    with pytest.raises(ValueError, match="got 4 inputs for 2 samples: call it as model"):
        as_method(twice)(work)
    agree(as_method(rightly)(work)[:, 0, 0, 0], work.logits[:, 0])
    one = next(work.each())
    as_method(lambda model, inputs, target: model(inputs.repeat(5, 1, 1, 1))[:1, :1, None, None].expand(1, 1, 16, 16))(
        one
    )


def test_meta_and_inference_mode():
    with torch.device("meta"):
        module = Reading(General())
    there = attended().to("meta")
    work = Classifier(module, device="meta").explicand(images().to("meta"), 0, present=there, attended=there)
    assert IntegratedGradients(3)(work).device.type == "meta"
    expected = Gradient()(together(General))
    with torch.inference_mode():
        assert torch.equal(Gradient()(together(General)), expected)


def test_what_is_attended_is_part_of_the_content():
    """Two samples with the same values may be different texts."""
    inputs, there = images(1).expand(2, -1, -1, -1), attended(2)
    found = Classifier(Reading(seeded(General))).explicand(inputs, 0, present=there, attended=there).ids
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("present", "given", "sentence"),
    [
        (None, torch.ones(3, 8, 8), r"attended must be \(3, 16, 16\)"),
        (None, torch.zeros(3, 16, 16), "attended must leave at least one feature of each sample"),
        (None, attended(), "present features must be attended, got some that the model does not read"),
        (torch.ones(3, 16, 16), attended(), "present features must be attended"),
    ],
)
def test_bad_input(present, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Classifier(Reading(seeded(General))).explicand(images(), 0, present=present, attended=given)


def test_without_it_the_module_has_one_argument():
    """Images are called as ever; what is attended may be more than what is present."""
    work = bind(nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2)), images(), ids=ids(3))
    assert work.attended is None
    assert next(iter(work.batches(2))).attended is None
    assert len(inspect.signature(Reading.forward).parameters) == 3
    everything = torch.ones(3, 16, 16, dtype=torch.bool)
    work = Classifier(Reading(seeded(General))).explicand(images(), 0, present=attended(), attended=everything)
    assert work.attended is not None
    assert bool(work.attended.all())
