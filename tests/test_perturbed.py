"""Perturbed models and samples: what is changed, by how much, and that nothing else is."""

import copy
from typing import Any

import pytest
import torch
from known_answers import normal, random
from networks import MEAN, STD, network
from torch import nn

from xaieval.attributions.constant import Constant
from xaieval.benchmark import Benchmark
from xaieval.classifier import Classifier
from xaieval.component import component_json
from xaieval.datasets.base import Reading, Sample, Samples
from xaieval.datasets.preprocess import Preprocess
from xaieval.draws import Draws, seed_of
from xaieval.keys import source_hash, state_hash
from xaieval.modalities.images import Images
from xaieval.modalities.texts import Texts
from xaieval.perturbed import INPUTS, PredictionKept, classifiers, samples
from xaieval.plan import Keys, Subject


class Shared(nn.Module):
    """Two layers of one weight, a normalization with statistics, a frozen parameter and an integer buffer."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(3)
        self.norm.running_mean = torch.randn(3, generator=generator)
        self.frozen = nn.Parameter(torch.randn(3, generator=generator), requires_grad=False)
        self.small = nn.Parameter(torch.ones(3, dtype=torch.float16))
        self.register_buffer("steps", torch.tensor([7]))
        for weight in (*self.first.parameters(), *self.second.parameters()):
            nn.init.normal_(weight, generator=generator)

    def forward(self, x):
        return self.norm(self.second(self.first(x))).mean((2, 3)) * self.frozen * self.small.float()


class Wide(nn.Module):
    """Ten thousand parameters of 1, to see the spread of what they are multiplied with."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10_000))

    def forward(self, x):
        return x.flatten(1)[:, :2] * self.weight[:2]


def photo(name="cat", size=(6, 5), target=1, masked=True, seed=0):
    mask = random(*size, seed=9) > 0.5 if masked else None
    return Sample(name, random(3, *size, seed=seed), target, mask, (f"photo of {name}",))


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


# Models


def test_each_parameter_is_multiplied_by_its_own_draw():
    """Written out: the draw of a parameter is that of a generator with the seed of its key."""
    module = Shared()
    for trial, width in {"weights_noise": 0.001, "weights_disruption": 0.5}.items():
        for number, made in enumerate(classifiers(Classifier(module), trial, 2, seed=4)):
            parameters = dict(made.module.named_parameters())
            assert list(parameters) == [name for name, _ in module.named_parameters()]
            for name, original in module.named_parameters():
                generator = torch.Generator().manual_seed(seed_of(4, trial, number, name))
                factor = 1 + width * torch.randn(original.shape, generator=generator)
                assert torch.equal(parameters[name], (original * factor).to(original.dtype))


@pytest.mark.parametrize(("trial", "width"), [("weights_noise", 0.001), ("weights_disruption", 0.5)])
def test_the_factors_are_normal_around_1(trial, width):
    """Within four standard errors: sd / sqrt(n) of the mean, sd / sqrt(2 n) of the standard deviation."""
    (made,) = classifiers(Classifier(Wide()), trial, 1, seed=0)
    factors = made.module.get_parameter("weight").detach().double()
    assert float(factors.mean()) == pytest.approx(1, abs=4 * width / 100)
    assert float(factors.std()) == pytest.approx(width, rel=4 / 141)
    standardized = (factors - 1) / width
    assert float((standardized.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=4 * 0.0047)


def test_buffers_ties_and_kinds_of_parameters_stay():
    module = Shared()
    (made,) = classifiers(Classifier(module), "weights_disruption", 1, seed=0)
    twin = made.module
    assert isinstance(twin, Shared)
    assert twin.first.weight is twin.second.weight
    assert not torch.equal(twin.first.weight, module.first.weight)
    for name, buffer in module.named_buffers():
        assert torch.equal(twin.get_buffer(name), buffer)
    assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in module.parameters()]
    assert [p.dtype for p in twin.parameters()] == [p.dtype for p in module.parameters()]


def test_the_original_is_untouched_and_the_modules_are_apart():
    module = Shared()
    classifier, before, hashed = Classifier(module), state(module), state_hash(module)
    inputs = random(2, 3, 6, 6)
    logits = classifier.explicand(inputs, 0).logits
    twins = list(classifiers(classifier, "weights_disruption", 3, seed=0))
    for twin in twins:
        twin.explicand(inputs, 0).gradient.sum()
    assert {name: value.tolist() for name, value in state(module).items()} == {
        name: value.tolist() for name, value in before.items()
    }
    assert torch.equal(classifier.explicand(inputs, 0).logits, logits)
    assert len({hashed, *(state_hash(twin.module) for twin in twins)}) == 4
    assert len({Keys(one).model for one in (classifier, *twins)}) == 4
    assert [twin.name for twin in twins] == [f"Shared weights_disruption {number}" for number in range(3)]


def test_all_options_are_those_of_the_model():
    options: dict[str, Any] = {
        "device": "cpu",
        "precision": "bfloat16_all",
        "batch_size": 3,
        "modality": Images(name="picture"),
        "layers": {"normgrad": "2"},
        "preprocess": Preprocess(20, 16),
        "categories": tuple("abcde"),
    }
    classifier = Classifier(network(), mean=MEAN, std=STD, name="net", **options)
    (made,) = classifiers(classifier, "weights_noise", 1, seed=0)
    for name in set(options) - {"batch_size"}:
        assert getattr(made, name) == getattr(classifier, name)
    assert made.size("scores") == made.size("gradients") == 3
    assert made.normalization == classifier.normalization
    assert made.default_layer("normgrad", random(1, 3, 16, 16)) == "2"


def test_it_computes_what_a_classifier_of_that_module_computes():
    """Scores, gradients, and what is looked up in a call: none of it comes from the original."""
    inputs = random(3, 3, 16, 20)
    classifier = Classifier(network(), mean=MEAN, std=STD, batch_size=8)
    classifier.explicand(inputs, 0).gradient.sum()
    (made,) = classifiers(classifier, "weights_disruption", 1, seed=0)
    expected = Classifier(copy.deepcopy(made.module), mean=MEAN, std=STD, batch_size=8).explicand(inputs, [1, 0, 4])
    found = made.explicand(inputs, [1, 0, 4])
    for name in ("logits", "gradient"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
    assert not torch.allclose(found.logits, classifier.explicand(inputs, 0).logits, rtol=1e-2)
    torch.testing.assert_close(found.activations(["2"])["2"][0], expected.activations(["2"])["2"][0])


def test_another_layer_is_found_in_another_module():
    """What a model's structure is belongs to the module, not to the one it stands in for."""
    inputs = random(1, 3, 16, 16)
    classifier = Classifier(network())
    first = classifier.default_layer("grad_cam", inputs)
    deeper = classifier.around(network(channels=(3, 4, 5, 6)), "deeper")
    assert deeper.default_layer("grad_cam", inputs) == Classifier(deeper.module).default_layer("grad_cam", inputs)
    assert deeper.default_layer("grad_cam", inputs) != first
    assert classifier.default_layer("grad_cam", inputs) == first


def test_models_are_made_one_at_a_time(monkeypatch):
    made = []

    def copied(module):
        made.append(module)
        return Wide()

    monkeypatch.setattr("xaieval.perturbed.copy.deepcopy", copied)
    iterator = classifiers(Classifier(Wide()), "weights_noise", 5, seed=0)
    assert not made
    next(iterator)
    assert len(made) == 1


def test_draws_depend_on_the_parameters_name_alone():
    """Not on the layers before it, and not on the count."""

    def second(parts, count):
        module = nn.Sequential(*parts)
        *_, last = classifiers(Classifier(module), "weights_noise", count, seed=0)
        return last.module.get_parameter("2.weight")

    layers = [nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Linear(4, 2)]
    with_first, without = second(layers, 2), second([nn.ReLU(), nn.ReLU(), layers[2]], 2)
    assert torch.equal(with_first, without)
    assert not torch.equal(with_first, second(layers, 3))


# Samples


def test_each_image_gets_its_own_draw_and_is_clipped():
    originals = loaded(photo("cat"), photo("dog", seed=1))
    for trial, width in {"inputs_noise": 0.001, "inputs_disruption": 5.0}.items():
        for number, made in enumerate(samples(originals, trial, 2, seed=4)):
            for original, found in zip(originals, made, strict=True):
                generator = torch.Generator().manual_seed(seed_of(4, trial, number, original.id))
                noise = width * (2 * torch.rand(3, 6, 5, generator=generator) - 1)
                assert torch.equal(found.input, (original.input + noise).clip(0, 1))


def loaded(*originals):
    return Samples(originals, lambda sample: sample)


def test_noise_is_small_and_a_disruption_leaves_one_value_in_ten():
    """Of a uniform value plus U(-5, 5) one tenth stays inside, whatever the image; four standard errors of 30,000."""
    original = photo(size=(100, 100))
    (noisy,), (disrupted,) = (samples(loaded(original), trial, 1, seed=0) for trial in INPUTS)
    change = noisy[0].input - original.input
    assert float(change.abs().max()) <= 0.001 + 1e-7
    assert float(change.std()) == pytest.approx(0.001 / 3**0.5, rel=0.03)
    image = disrupted[0].input
    inside = ((image > 0) & (image < 1)).double().mean()
    assert float(inside) == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / 30_000) ** 0.5)
    assert float((image == 0).double().mean()) == pytest.approx(0.45, abs=0.02)


def test_everything_but_the_image_is_the_originals():
    original = photo()
    (made,) = samples(loaded(original, photo("dog", masked=False)), "inputs_noise", 1, seed=0)
    assert (made[0].id, made[0].target, made[0].sources) == (original.id, original.target, original.sources)
    assert made[0].mask is original.mask
    assert made[1].mask is None


def test_contents_give_perturbed_samples_keys_of_their_own():
    original = photo()
    made = [sequence[0] for trial in INPUTS for sequence in samples(loaded(original), trial, 2, 0)]
    keys = {Subject.of(0, sample, "photos", "label").key for sample in (original, *made)}
    assert len(keys) == 5
    masks = {Subject.of(0, sample, "photos", "label").mask for sample in (original, *made)}
    assert len(masks) == 1


def test_samples_are_read_when_they_are_indexed():
    read = []

    def reading(sample):
        read.append(sample.id)
        return sample

    originals = Samples([photo(name) for name in ("cat", "dog", "owl")], reading)
    made, _ = samples(originals, "inputs_noise", 2, seed=0)
    assert (len(made), made.ids) == (3, ("cat", "dog", "owl"))
    part = made[1:]
    assert not read
    expected = made[1].input
    assert read == ["dog"]
    assert torch.equal(part[0].input, expected)  # the draws go with the id, not with the place
    assert torch.equal(made[1].input, expected)


def test_a_run_takes_them():
    originals = loaded(photo("cat", (16, 16)), photo("dog", (16, 16), seed=1))
    (made,) = samples(originals, "inputs_disruption", 1, seed=0)
    benchmark = Benchmark(
        Classifier(network()), {"constant": Constant()}, {"kept": PredictionKept()}, "photos", target="label"
    )
    rows = benchmark.run(made).rows
    assert rows["sample"].tolist() == ["cat", "dog"]
    assert rows["target"].tolist() == [1, 1]
    images = torch.stack([sample.input for sample in made])
    expected = (network()(images).argmax(1) == 1).double().tolist()
    assert rows["score"].tolist() == expected


# Both


def test_the_seed_decides_and_the_global_state_stays():
    classifier = Classifier(network())
    before = torch.random.get_rng_state()

    def draws(seed):
        (model,) = classifiers(classifier, "weights_noise", 1, seed)
        (pictures,) = samples(loaded(photo()), "inputs_noise", 1, seed)
        return torch.cat([pictures[0].input.flatten(), *(p.detach().flatten() for p in model.module.parameters())])

    assert torch.equal(draws(1), draws(1))
    assert not torch.equal(draws(1), draws(2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_models_are_drawn_on_the_device_of_the_classifier(monkeypatch):
    seen, original = [], Draws.normal

    def watched(draws, *rest):
        seen.append(draws.device.type)
        return original(draws, *rest)

    monkeypatch.setattr(Draws, "normal", watched)
    (made,) = classifiers(Classifier(Wide().to("meta"), device="meta"), "weights_noise", 1, seed=0)
    assert made.module.get_parameter("weight").is_meta
    assert seen == ["meta"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: classifiers(Classifier(Wide()), "inputs_noise", 1, 0),
            "weights_noise, weights_disruption, got",
        ),
        (
            lambda: samples(loaded(), "weights_noise", 1, 0),
            "one of inputs_noise, inputs_disruption, got 'weights_noise'",
        ),
        (lambda: classifiers(Classifier(Wide()), "weights_noise", 0, 0), "at least 1 perturbation, got 0"),
        (lambda: samples(loaded(), "inputs_noise", 0, 0), "at least 1 perturbation, got 0"),
    ],
)
def test_trials_that_do_not_exist(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The prediction


class Table(nn.Module):
    """Gives the row of a table that the first pixel names."""

    def __init__(self, table):
        super().__init__()
        self.table = torch.tensor(table)

    def forward(self, x):
        return self.table[(x[:, 0, 0, 0] * len(self.table)).long()]


def logits(table):
    inputs = ((torch.arange(len(table)) + 0.5) / len(table))[:, None, None, None].expand(-1, 3, 4, 4)
    return Classifier(Table(table), batch_size=8).explicand(inputs, 1)


def test_kept_where_no_other_class_has_a_larger_logit():
    explicand = logits([[0.0, 1.0, 0.5], [2.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.0, -1.0, -2.0]])
    values, reasons = PredictionKept().evaluate(explicand, normal(4, 3, 4, 4))
    assert values.tolist() == [1, 0, 1, 0]
    assert not any(where.any() for where in reasons.values())
    assert explicand.cost[:2] == (1, 0)


@pytest.mark.parametrize("fill", [0.0, 3.0, float("nan"), float("inf")])
@pytest.mark.parametrize("units", ["gradient", "contribution", "importance"])
def test_the_map_does_not_matter(fill, units):
    explicand = logits([[0.0, 1.0, 0.5], [2.0, 1.0, 0.5]])
    attribution = torch.full((2, 3, 4, 4), fill)
    assert PredictionKept()(explicand, attribution, units=units).tolist() == [1, 0]


def test_without_numbers_nothing_is_predicted():
    nan, inf = float("nan"), float("inf")
    explicand = logits([[nan, 1.0, 0.0], [inf, inf, 0.0], [0.0, inf, 0.0]])
    values, reasons = PredictionKept().evaluate(explicand, normal(3, 3, 4, 4))
    assert values.isnan().tolist() == [True, True, False]
    assert reasons["logits not finite"].tolist() == [True, True, False]


def test_one_class_is_always_predicted():
    explicand = Classifier(Table([[0.5], [-0.5]]), batch_size=8).explicand(random(2, 3, 4, 4), None)
    assert PredictionKept()(explicand, normal(2, 3, 4, 4)).tolist() == [1, 1]


def test_its_values_may_be_kept():
    assert source_hash(PredictionKept()) is not None
    assert "PredictionKept" in component_json(PredictionKept())


def test_texts_move_in_the_size_of_their_embeddings_and_special_tokens_stay():
    present = torch.tensor([False, True, True, True, False])
    reading = Reading(present, torch.ones(5, dtype=torch.bool), None, None, tuple("[ab]]"))
    embeddings = 100 * torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    text = Sample("t", embeddings, 1, None, ("t",), reading)
    (made,) = samples(Samples([text], lambda entry: entry), "inputs_noise", 1, seed=0, modality=Texts())
    change = made[0].input - embeddings
    assert (change[:, ~present] == 0).all()
    size = embeddings[:, present].square().mean().sqrt()
    assert change.abs().max() <= 0.001 * size
    # uniform draws: 192 values, the mean of |u| is 1/2 with a standard error of .29 / sqrt(192) = .02
    assert float(change[:, present].abs().mean() / size) == pytest.approx(0.0005, abs=0.0001)
