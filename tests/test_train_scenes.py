"""Networks that learn to tell drawn creatures: what comes out, and that a training goes on where it was cut off."""

import json
import shutil
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import load_file

from xaieval import epochs as epochs_module
from xaieval import train_scenes as train_module
from xaieval.collate import collate
from xaieval.config import ConfigError, default
from xaieval.creature import CATEGORIES, PARTS
from xaieval.datasets.preprocess import Preprocess
from xaieval.datasets.scenes import Scenes
from xaieval.epochs import TrainingError
from xaieval.models import scenes as models
from xaieval.models.loading import ModelError
from xaieval.progress import Progress
from xaieval.recipes import RECIPE, cache
from xaieval.scene_networks import MEAN, NETWORKS, STD
from xaieval.scene_training import Drawn, SceneTraining, accuracies, moved
from xaieval.train_scenes import WEIGHTS, Recipe, recipe_of
from xaieval.verbs import run_verb

QUIET = Progress(shown=False)
SMALL = Recipe(size=32, count=20, validation=5, epochs=2, batch=5)
DECAY = 10.0
"""Enough to be seen after one step."""


def weights(folder):
    return load_file(Path(folder) / WEIGHTS)


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def said(folder):
    return json.loads((Path(folder) / RECIPE).read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return replace(SMALL, folder=str(tmp_path_factory.mktemp("whole") / "model")).trained(QUIET)


@pytest.fixture
def training(tmp_path):
    """Of 10 scenes, before its first step."""
    recipe = replace(SMALL, count=10, epochs=1)
    samples = recipe.scenes("train"), recipe.scenes("validation")
    return SceneTraining(recipe.untrained(), *samples, recipe.schedule, DECAY, tmp_path / "drawn.scenes", QUIET)


# -- what comes out --------------------------------------------------------------------------------------------------


def test_the_folder_holds_weights_and_recipe(trained):
    assert sorted(file.name for file in trained.iterdir()) == [WEIGHTS, RECIPE]
    assert [entry.name for entry in trained.parent.iterdir()] == [trained.name]  # neither checkpoint nor drawn scenes
    found = said(trained)
    assert found["categories"] == list(CATEGORIES)
    assert len(found["epoch_results"]) == found["epochs"] == 2
    assert found["seconds"] > 0
    assert list(found["test"]) == ["whole", *PARTS]


@pytest.mark.parametrize("network", NETWORKS)
def test_it_learns(tmp_path, network):
    """By heart, as there are ten scenes of ten classes."""
    options: dict[str, Any] = {
        "count": 10,
        "validation": 1,
        "epochs": 25,
        "lr": 3e-3,
        "folder": str(tmp_path / "model"),
    }
    found = said(replace(SMALL, network=network, **options).trained(QUIET))
    assert found["epoch_results"][-1]["loss"] < 1.5 < 2 < found["epoch_results"][0]["loss"]


def test_the_same_recipe_gives_the_same_weights_and_is_not_trained_twice(trained, tmp_path, monkeypatch):
    before = torch.get_rng_state()
    again = replace(SMALL, folder=str(tmp_path / "again"))
    assert same(weights(trained), weights(again.trained(QUIET)))
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(SceneTraining, "run", lambda *_: pytest.fail("trained again"))
    again.trained(QUIET)


def test_the_cache_is_under_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe = replace(SMALL, count=10, epochs=1)
    assert recipe.trained(QUIET) == tmp_path / "xaieval" / "scenes" / recipe.key == cache("scenes") / recipe.key


def test_the_verb_prints_accuracies_time_and_folder(tmp_path, capsys):
    words = ["size=32", "count=10", "validation=5", "epochs=1", f"folder={tmp_path / 'model'}", "device=cpu"]
    run_verb("train", ["scenes", *words])
    printed = capsys.readouterr()
    first, second, last = printed.out.splitlines()
    assert last == str(tmp_path / "model")
    assert first.startswith("validation accuracy ")
    assert ", epoch 1 of 1, in 0:0" in first
    assert second.startswith("test accuracy ")
    assert all(f"{part} " in second for part in PARTS)
    assert "training cnn on 10 scenes of 32 pixels" in printed.err


# -- the loop --------------------------------------------------------------------------------------------------------


def test_a_step_is_that_of_adamw_on_the_cross_entropy(training):
    """One step of 10 scenes by hand: pixels of 8 bits, moved and normalized."""
    by_hand = replace(SMALL, count=10).untrained().train()
    samples = Scenes(10, 0, "train", dropped=0.25).load(Preprocess(32, 32))
    rows = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    pixels = torch.stack([samples[row].input for row in rows])
    pixels = moved((255 * pixels).round(), training._generator("moves", 0)) / 255
    targets = torch.tensor([samples[row].target for row in rows])
    functional.cross_entropy(by_hand((pixels - MEAN) / STD), targets).backward()
    torch.optim.AdamW(by_hand.parameters(), 3e-3, weight_decay=DECAY).step()
    training._learn(rows, 0)
    # Adam's first step is lr * sign(g) where g is not tiny: where it is, rounding decides, so these are left out
    compared = 0
    for found, weight in zip(training.model.parameters(), by_hand.parameters(), strict=True):
        assert weight.grad is not None
        firm = weight.grad.abs() > 1e-4
        torch.testing.assert_close(found[firm], weight[firm], rtol=1e-3, atol=1e-4)
        compared += int(firm.sum())
    assert compared > 1000


def test_the_epoch_is_chosen_by_accuracy_and_then_by_loss(training):
    found = [{"accuracy": 0.5, "validation_loss": 0.1}, {"accuracy": 0.75, "validation_loss": 0.4}]
    found.append({"accuracy": 0.75, "validation_loss": 0.2})
    assert max(found, key=training._worth) == found[2]


def test_every_scene_is_seen_once_an_epoch_in_another_order(training):
    training.steps, orders = 1, [training.batches(epoch) for epoch in (0, 1)]
    for order in orders:
        assert sorted(row for batch in order for row in batch) == list(range(10))
    assert orders[0] != orders[1]


def test_moved_images_are_shifted_and_mirrored():
    """Against rolling by hand, away from the edges; all shifts and both sides occur."""
    images = torch.randint(0, 256, (600, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = moved(images, torch.Generator().manual_seed(1))
    assert found.dtype == torch.uint8
    fits = [
        ((found.flip(3) if mirrored else found) == images.roll((-down, -right), (2, 3)))[..., 2:-2, 2:-2]
        .flatten(1)
        .all(1)
        for down in range(-2, 3)
        for right in range(-2, 3)
        for mirrored in (False, True)
    ]
    each = torch.stack(fits)
    assert bool((each.sum(0) == 1).all())
    assert bool(each.any(1).all())


def test_the_edge_is_repeated_where_an_image_is_shifted():
    images = torch.arange(32).expand(50, 3, 32, 32)
    found = moved(images, torch.Generator().manual_seed(0))
    rows = {tuple(row) if row[0] < row[-1] else tuple(row[::-1]) for row in found[:, 0, 0].tolist()}
    assert rows == {tuple(min(max(place + shift, 0), 31) for place in range(32)) for shift in range(-2, 3)}


class Sums(torch.nn.Module):
    """The last digit of the sum of all pixels, so that no change goes unseen."""

    def forward(self, inputs):
        sums = (255 * (inputs * STD + MEAN)).round().long().flatten(1).sum(1)
        return functional.one_hot(sums % 10, 10).float()


def test_accuracies_without_parts_are_those_of_the_scenes_drawn_without(training):
    training.model, samples = Sums(), list(replace(SMALL, validation=40).scenes("test"))
    expected = {}
    for name, without in (("whole", ()), *((part, (number,)) for number, part in enumerate(PARTS))):
        worlds = [(sample.world, sample.target) for sample in samples if sample.world is not None]
        drawn = [(world.image(without=without), target) for world, target in worlds if set(without) <= {*world.parts}]
        right = [int((255 * image).round().sum()) % 10 == target for image, target in drawn]
        expected[name] = sum(right) / len(right)
    assert len(set(expected.values())) > 2
    assert accuracies(training, replace(SMALL, validation=40).scenes("test")) == pytest.approx(expected)


def test_validation_is_whole_and_learning_scenes_lack_parts():
    recipe = replace(SMALL, count=20, validation=20)

    def missing(split):
        return sum(len(PARTS) - len(sample.world.parts) for sample in recipe.scenes(split) if sample.world is not None)

    assert missing("train") > 5
    assert missing("validation") == missing("test") == 0


# -- cut off ---------------------------------------------------------------------------------------------------------


class CutError(Exception):
    """As if the process ended here."""


@pytest.mark.parametrize("step", [0, 3, 4, 7])
def test_it_goes_on_where_it_was_cut_off(trained, tmp_path, monkeypatch, step):
    """Four steps an epoch, the state is written after every second one; what was drawn is not drawn again."""
    monkeypatch.setattr(epochs_module, "KEEP_EVERY", 2)
    learn, recipe = SceneTraining._learn, replace(SMALL, folder=str(tmp_path / "model"))

    def cut(self, rows, epoch):
        if self.state.step == step:
            _ = self.scenes
            raise CutError
        learn(self, rows, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(SceneTraining, "_learn", cut)
        with pytest.raises(CutError):
            recipe.trained(QUIET)
    assert {entry.suffix for entry in tmp_path.iterdir()} == ({".scenes", ".checkpoint"} if step > 1 else {".scenes"})
    steps, drawn = [], []
    of = Drawn.of

    def learning(self, rows, epoch):
        steps.append(self.state.step)
        learn(self, rows, epoch)

    def reading(samples, progress=None, file=None):
        drawn.append(len(samples))
        assert file is None or file.is_file()
        return of(samples, progress, file)

    monkeypatch.setattr(SceneTraining, "_learn", learning)
    monkeypatch.setattr(Drawn, "of", reading)
    assert same(weights(trained), weights(recipe.trained(QUIET)))
    assert steps == list(range(step - step % 2, 8))
    assert 20 in drawn
    assert said(trained)["epoch_results"] == said(tmp_path / "model")["epoch_results"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


# -- the recipe's hash -----------------------------------------------------------------------------------------------


def test_the_key_changes_with_every_setting_but_places(monkeypatch):
    other: dict[str, Any] = {
        "network": "vit",
        "size": 40,
        "count": 21,
        "validation": 6,
        "dropped": 0.5,
        "correlated": 0.5,
        "spurious": 0.5,
        "epochs": 3,
        "lr": 1e-4,
        "batch": 6,
        "seed": 1,
    }
    assert {*other, "folder", "device"} == {entry.name for entry in fields(Recipe)}
    found = [SMALL.key, *(replace(SMALL, **{name: value}).key for name, value in other.items())]
    monkeypatch.setattr(train_module, "source_hash", lambda component: "edited")
    found.append(SMALL.key)
    monkeypatch.undo()
    monkeypatch.setattr("xaieval.scene_draws.HIDDEN", 1.0)
    found.append(SMALL.key)
    assert len(set(found)) == len(found)
    monkeypatch.undo()
    assert replace(SMALL, folder="there", device="cpu").key == SMALL.key
    usual = NETWORKS["cnn"]
    assert replace(SMALL, epochs=None, lr=None).key == replace(SMALL, epochs=usual.epochs, lr=usual.lr).key


def test_the_default_recipe():
    assert recipe_of(["device=cpu"]) == Recipe(device="cpu")
    assert recipe_of(["device=cpu", "network=vit", "spurious=1"]) == Recipe("vit", spurious=1, device="cpu")


# -- the models ------------------------------------------------------------------------------------------------------


def test_a_model_is_that_of_its_training(trained):
    classifier = models.load("cnn", size=32, path=str(trained))
    assert (classifier.name, classifier.categories) == ("scenes_cnn:size=32,model", CATEGORIES)
    assert classifier.preprocess == Preprocess(32, 32)
    samples = list(SMALL.scenes("validation"))
    explicand = classifier.explicand(ids=[sample.id for sample in samples], **collate(samples))
    right = explicand.logits.argmax(1) == torch.tensor([sample.target for sample in samples])
    found = said(trained)
    assert float(right.float().mean()) == pytest.approx(found["epoch_results"][found["kept_epoch"] - 1]["accuracy"])
    assert explicand.parts is not None


def test_logits_of_the_cnn_are_means_of_maps_of_its_last_layer():
    network = replace(SMALL, size=64).untrained().eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = network.get_submodule("features")(images)
    assert maps.shape[2:] == (8, 8)
    head = network.get_submodule("head")
    with torch.no_grad():
        torch.testing.assert_close(network(images), head(maps.mean((2, 3))))


@pytest.mark.parametrize("network", NETWORKS)
def test_yamls_name_their_network_and_train_it_at_first_use(network, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(models, "Recipe", partial(Recipe, count=10, validation=2, epochs=1))
    classifier = default("model", f"scenes_{network}", device="cpu")
    assert classifier.name == f"scenes_{network}"
    (folder,) = cache("scenes").iterdir()
    assert said(folder)["network"] == network
    monkeypatch.setattr(SceneTraining, "run", lambda *_: pytest.fail("trained again"))
    again = default("model", f"scenes_{network}", device="cpu")
    assert same(dict(again.module.state_dict()), weights(folder))


def test_networks_of_other_scenes_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(models, "Recipe", partial(Recipe, count=10, validation=2, epochs=1))
    classifier = models.load("cnn", size=32, correlated=0.5, spurious=1.0)
    assert classifier.name == "scenes_cnn:size=32,correlated=0.5,spurious=1.0"


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"network": "vti"}, "network must be one of cnn, vit, got 'vti'; did you mean vit"),
        ({"size": 60}, "size must be a multiple of 8 from 32, in pixels, got 60"),
        ({"size": 24}, "size must be a multiple of 8 from 32, in pixels, got 24"),
        ({"size": 64.0}, "size must be a multiple of 8 from 32, in pixels, got 64.0"),
        ({"count": 0}, "count must be an integer of at least 1, got 0"),
        ({"validation": 0.1}, "validation must be an integer of at least 1, got 0.1"),
        ({"dropped": 1.0}, "dropped to be at most"),
        ({"spurious": 2}, "spurious to be a probability in .0, 1., got 2"),
        ({"correlated": None}, "correlated must be a probability, got None"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"lr": 1}, "lr must be a number between 0 and 1, such as 5e-5, got 1"),
        ({"batch": "all"}, "batch must be an integer of at least 1, got 'all'"),
        ({"seed": 0.5}, "seed must be an integer, got 0.5"),
    ],
)
def test_bad_recipes(options, match):
    with pytest.raises(TrainingError, match=match):
        Recipe(**options)
    given = {name: value for name, value in options.items() if name in ("network", "size", "spurious")}
    if given:
        with pytest.raises(ModelError, match=match):
            models.load(**given)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["epoch=3"], "train scenes has no key 'epoch'; did you mean epochs"),
        (["fast"], "train scenes takes KEY=VALUE, such as network=vit, got 'fast'"),
        (["size=60"], "size must be a multiple of 8"),
        (["dataset=photos"], "train scenes has no key 'dataset'"),
    ],
)
def test_bad_words(words, match):
    with pytest.raises(ConfigError, match=match):
        run_verb("train", ["scenes", *words])


def test_a_folder_with_something_else(trained, tmp_path):
    (tmp_path / "full").mkdir()
    with pytest.raises(TrainingError, match="full holds something else: give another folder="):
        replace(SMALL, folder=str(tmp_path / "full")).trained(QUIET)
    with pytest.raises(TrainingError, match="holds a classifier of another recipe"):
        replace(SMALL, seed=5, folder=str(trained)).trained(QUIET)
    with pytest.raises(ModelError, match="full holds no network that was trained on scenes; give path="):
        models.load(path=str(tmp_path / "full"))
    with pytest.raises(ModelError, match="was trained with size=32: say so here too"):
        models.load(path=str(trained))
    shutil.copytree(trained, tmp_path / "cut")
    (tmp_path / "cut" / WEIGHTS).write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be read as plain weights"):
        models.load(size=32, path=str(tmp_path / "cut"))
