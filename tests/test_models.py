"""Models come with their weights and preprocessing, and what is wrong with them comes as a sentence."""

import inspect
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close
from torchvision import models as torchvision_models

from xaieval.classifier import Classifier
from xaieval.datasets.folder import Folder
from xaieval.datasets.photos import Photos
from xaieval.datasets.preprocess import Preprocess
from xaieval.models import callable as from_callable
from xaieval.models import efficientnet_lite0, loading
from xaieval.models import timm as from_timm
from xaieval.models import torchvision as from_torchvision
from xaieval.models.loading import ModelError

CONF = Path(__file__).parents[1] / "conf" / "model"
DATA = os.environ.get("XAIEVAL_TEST_DATA")
TINY = "test_resnet"  # timm's own test model, half a million weights


def probabilities(classifier, samples):
    return classifier.logits(torch.stack([sample.input for sample in samples])).softmax(1)


# -- EfficientNet-Lite0 ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0():
    return efficientnet_lite0.load(batch_size=8)


@pytest.fixture(scope="module")
def seen(lite0):
    """What the real network makes of the photos: {id: probabilities}."""
    samples = Photos().load(lite0.preprocess)
    return dict(zip(samples.ids, probabilities(lite0, samples), strict=True))


def test_coffee_is_espresso(lite0, seen):
    assert lite0.categories[967] == "espresso"
    assert float(seen["coffee"][967]) > 0.9


@pytest.mark.parametrize(
    ("photo", "classes", "probability"),
    [
        ("coffee", ("espresso",), 0.95),
        ("camera", ("tripod",), 0.94),
        ("chelsea", ("tabby", "tiger cat", "Egyptian cat"), 0.92),
        ("motorcycle_left", ("moped",), 0.54),
        ("rocket", ("missile",), 0.27),
        ("flower", ("daisy",), 0.32),
        ("china", ("palace",), 0.30),
        ("grace_hopper", ("academic gown",), 0.24),
    ],
)
def test_photos_are_seen_as_measured_with_torchvisions_transforms(lite0, seen, photo, classes, probability):
    indices = [lite0.categories.index(name) for name in classes]
    assert float(seen[photo][indices].sum()) == pytest.approx(probability, abs=0.006)
    assert int(seen[photo].argmax()) in indices


def test_targets_of_photos_are_what_the_network_sees(lite0, seen):
    for sample in Photos().load(lite0.preprocess):
        place = int((seen[sample.id] > seen[sample.id][sample.target]).sum())
        assert place == (2 if sample.id == "grace_hopper" else 0)  # military uniform is its third guess


@pytest.mark.skipif(not DATA, reason="XAIEVAL_TEST_DATA is unset")
def test_imagenet_photos_are_recognized(lite0):
    samples = Folder(f"{DATA}/imagenet_photos").load(lite0.preprocess)
    right = probabilities(lite0, samples).argmax(1) == torch.tensor([sample.target for sample in samples])
    assert float(right.float().mean()) == pytest.approx(0.88, abs=0.021)  # 44 of 50


def test_lite0_is_what_it_says(lite0):
    assert lite0.name == "efficientnet_lite0"
    assert lite0.preprocess == Preprocess(256, 224, "bicubic")
    assert len(lite0.categories) == 1000


@pytest.mark.parametrize(("missing", "name"), [("timm", "timm"), (efficientnet_lite0.WEIGHTS, "efficientnet-lite0")])
def test_lite0_without_its_packages(monkeypatch, missing, name):
    monkeypatch.setattr(loading, "find_spec", lambda module: None if module == missing else find_spec(module))
    with pytest.raises(ModelError, match=f"efficientnet_lite0 needs {name}.*not installed here: pip install {name}"):
        efficientnet_lite0.load()


def test_weights_that_do_not_agree_with_timm():
    expected = {"conv.weight": torch.zeros(2, 3), "bn.bias": torch.zeros(2)}
    weights = {"_conv.weight": torch.ones(2, 3), "_bn.bias": torch.ones(2)}
    assert list(efficientnet_lite0._renamed(weights, expected)) == ["conv.weight", "bn.bias"]
    for other in (
        {"_conv.weight": torch.ones(2, 3)},
        dict(reversed(weights.items())),
        weights | {"_bn.bias": torch.ones(3)},
    ):
        with pytest.raises(ModelError, match="no longer agree in order and shapes"):
            efficientnet_lite0._renamed(other, expected)


# -- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    with loading.seeded():
        torch.default_generator.manual_seed(7)
        module = timm.create_model(TINY, num_classes=5)
    return module.eval()


INPUTS = torch.linspace(0, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)


@pytest.mark.parametrize("form", ["pt", "safetensors", "nested", "parallel", "lightning"])
def test_a_checkpoint_comes_back(tiny, tmp_path, form):
    state = tiny.state_dict()
    path = tmp_path / f"mine.{'safetensors' if form == 'safetensors' else 'pt'}"
    if form == "safetensors":
        save_file(state, path)
    elif form == "nested":
        torch.save({"model": state, "epoch": 3}, path)
    elif form == "parallel":
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    elif form == "lightning":
        torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}}, path)
    else:
        torch.save(state, path)
    classifier = from_timm.load(TINY, checkpoint=str(path), batch_size=2)
    assert classifier.name == f"{TINY}:mine"
    assert classifier.categories is None  # five classes of its own
    assert classifier.preprocess == Preprocess(168, 160, "bilinear")  # floor(160 / .95)
    with torch.no_grad():
        expected = tiny((INPUTS - 0.5) / 0.5)
    assert_close(classifier.logits(INPUTS), expected, atol=1e-5, rtol=1e-4)


def test_a_checkpoint_of_torchvision_comes_back(tmp_path):
    with loading.seeded():
        torch.default_generator.manual_seed(3)
        module = torchvision_models.get_model("squeezenet1_1", num_classes=4).eval()
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    classifier = from_torchvision.load("squeezenet1_1", checkpoint=str(tmp_path / "mine.pth"), batch_size=2)
    assert classifier.name == "squeezenet1_1:mine"
    assert classifier.categories is None
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = module((INPUTS - mean) / std)
    assert_close(classifier.logits(INPUTS), expected, atol=1e-5, rtol=1e-4)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("never",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Evil(), "cannot be read as plain weights"),
        ({"epoch": 3, "optimizer": {}}, "holds a dictionary of epoch, optimizer; expected a state dict"),
        ([torch.zeros(2)], "holds list; expected a state dict"),
        ({"fc.weight": torch.zeros(5, 3)}, r"does not fit the model \(weights \d+ missing: conv1.0.weight, .*, \.\.\."),
    ],
)
def test_bad_checkpoints(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(ModelError, match=words):
        from_timm.load(TINY, checkpoint="bad.pt")
    assert not (tmp_path / "never").exists()


def test_a_checkpoint_that_does_not_fit_says_where(tiny, tmp_path):
    state = dict(tiny.state_dict())
    state["strange"] = torch.zeros(1)
    state["conv1.0.weight"] = torch.zeros(2, 2)
    del state["fc.weight"]
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(
        ModelError,
        match=r"1 missing: fc.weight; 1 unknown to the model: strange; "
        r"1 of another shape: conv1.0.weight \(2, 2\) instead of",
    ):
        from_timm.load(TINY, checkpoint=str(tmp_path / "odd.pt"))


@pytest.mark.parametrize("name", ["damaged.pt", "damaged.safetensors"])
def test_damaged_and_missing_checkpoints(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match=f"{name} cannot be read as plain weights .*; expected what torch.save"):
        from_timm.load(TINY, checkpoint=str(tmp_path / name))
    with pytest.raises(ModelError, match=r"there is no checkpoint at .*none\.pt; give the path"):
        from_timm.load(TINY, checkpoint=str(tmp_path / "none.pt"))


# -- timm and torchvision --------------------------------------------------------------------------------------------


def test_random_weights_are_the_same_every_time_and_say_so():
    before = torch.get_rng_state()
    first, second = (from_timm.load(TINY, pretrained=False, batch_size=2) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.logits(INPUTS), second.logits(INPUTS))
    assert first.name == f"{TINY}:random"
    assert first.categories == loading.imagenet_categories()


def test_resnet18_runs_without_a_network():
    before = torch.get_rng_state()
    classifier = from_torchvision.load("resnet18", weights=None, batch_size=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert classifier.name == "resnet18:random"
    assert classifier.preprocess == Preprocess(256, 224, "bilinear")
    assert classifier.categories == loading.imagenet_categories()
    assert classifier.logits(INPUTS).shape == (2, 1000)


def test_unknown_names():
    with pytest.raises(ModelError, match=r"timm has no model 'resnet_18'; did you mean .*resnet18"):
        from_timm.load("resnet_18")
    with pytest.raises(ModelError, match=r"torchvision has no classifier 'resnet_18'; did you mean .*resnet18"):
        from_torchvision.load("resnet_18")
    with pytest.raises(ModelError, match=r"torchvision has no classifier 'qqqq'$"):
        from_torchvision.load("qqqq")
    with pytest.raises(ModelError, match="resnet18 has no weights 'V2'; expected DEFAULT, IMAGENET1K_V1, or null"):
        from_torchvision.load("resnet18", weights="V2")


def test_timm_weights_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"timm's resnet18 could not be had .*without a network give checkpoint=PATH"):
        from_timm.load("resnet18")
    with pytest.raises(ModelError, match=r"Invalid pretrained tag \(b1k\).*timm offers resnet18.a1_in1k"):
        from_timm.load("resnet18.b1k")


def test_torchvision_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
    def refuse(*args, **options):
        raise OSError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(ModelError, match=r"resnet18-f37072fd.pth \(Name or service.*model.resnet18.weights=null"):
        from_torchvision.load("resnet18")


def test_torchvision_weights_in_torchs_cache_need_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    with loading.seeded():
        torch.default_generator.manual_seed(5)
        module = torchvision_models.get_model("squeezenet1_1").eval()
    torch.save(module.state_dict(), cached)
    before = torch.get_rng_state()
    classifier = from_torchvision.load("squeezenet1_1")
    assert torch.equal(torch.get_rng_state(), before)
    assert classifier.name == "squeezenet1_1"
    assert all(torch.equal(a, b) for a, b in zip(classifier.module.parameters(), module.parameters(), strict=True))


def test_timm_models_without_classes_are_refused():
    with pytest.raises(ModelError, match="has no classes, only features; expected a classifier"):
        from_timm.load("vit_small_patch14_dinov2", pretrained=False)


def test_timm_preprocessing_other_than_a_square_crop_is_refused():
    config = {"input_size": (3, 224, 224), "crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash"}
    assert from_timm._preprocess("m", config) == Preprocess(224, 224, "bicubic", squash=True)
    for other in ({"input_size": (1, 28, 28)}, {"input_size": (3, 256, 192)}, {"crop_mode": "border"}):
        with pytest.raises(ModelError, match="expected 3 channels and a square"):
            from_timm._preprocess("m", config | other)


# -- callable --------------------------------------------------------------------------------------------------------


@pytest.fixture
def my_models(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))\n\n"
        "def wrong():\n    return make(), 1\n\nnumber = 1\n"
    )
    (tmp_path / "my_broken.py").write_text("import missing_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_models", None)


def test_a_function_of_yours(my_models):
    before = torch.get_rng_state()
    load = from_callable.load
    first, second = (
        load("my_models:make", mean=(0.5,) * 3, std=(0.25,) * 3, resize=2, crop=2, batch_size=4) for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert first.name == "my_models:make"
    assert first.preprocess == Preprocess(2, 2)
    pixels = torch.linspace(0, 1, 24).view(2, 3, 2, 2)
    with torch.no_grad():
        expected = first.module((pixels - 0.5) / 0.25)
    assert_close(first.logits(pixels), expected)
    assert torch.equal(first.logits(pixels), second.logits(pixels))  # initialized alike


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("my_models", "expected the model as module:function, such as .*got 'my_models'"),
        ("my_models:", "expected the model as module:function"),
        ("my_modells:make", "no module 'my_modells'.*PYTHONPATH"),
        ("my_models.sub:make", "no module 'my_models.sub'"),
        ("my_models:mak", r"no function 'mak'; did you mean make\?"),
        ("my_models:number", "no function 'number'"),
        ("my_models:wrong", "my_models:wrong returned tuple, expected a torch.nn.Module: return the model itself"),
    ],
)
def test_bad_functions(my_models, function, words):
    with pytest.raises(ModelError, match=words):
        from_callable.load(function)


def test_a_missing_import_of_your_module_is_shown_as_it_is(my_models):
    with pytest.raises(ModuleNotFoundError, match="missing_dependency"):
        from_callable.load("my_broken:make")


# -- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["callable", "efficientnet_lite0", "resnet18", "timm", "torchvision"])
def test_the_yaml_names_every_option_with_its_default(stem):
    config = OmegaConf.load(CONF / f"{stem}.yaml")
    assert list(config) == [stem]
    root = OmegaConf.create({"device": None, "precision": "float32", "batch_size": "auto", "model": config})
    load = {"resnet18": from_torchvision, "timm": from_timm, "torchvision": from_torchvision, "callable": from_callable}
    parameters = inspect.signature(load.get(stem, efficientnet_lite0).load).parameters
    options = {
        name: None if OmegaConf.is_missing(root.model[stem], name) else root.model[stem][name] for name in config[stem]
    }
    assert str(options.pop("_target_")).endswith(".load")
    assert set(options) == set(parameters)
    for name, parameter in parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert options[name] == parameter.default


def test_resnet18_from_its_yaml():
    root = OmegaConf.create({"device": "cpu", "precision": "float32", "batch_size": 2})
    root.model = OmegaConf.load(CONF / "resnet18.yaml")
    root.model.resnet18.weights = None
    classifier = instantiate(root.model.resnet18, _convert_="all")
    assert isinstance(classifier, Classifier)
    assert isinstance(classifier.module, nn.Module)
