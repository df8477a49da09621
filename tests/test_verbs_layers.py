"""`xaieval layers`: what a model offers, with shapes, and what methods read by default."""

import re
import sys

import pytest
from projects import ARGUMENTS, make_project

from xaieval import verbs
from xaieval.config import ConfigError


@pytest.fixture
def lines(capsys):
    """Runs the verb; the first line, and of each layer its shape, class and methods."""

    def run(*words):
        verbs.run_verb("layers", words)
        first, *rest = capsys.readouterr().out.splitlines()
        found = {}
        for line in rest:
            match = re.fullmatch(r"  (\S+) +(\d+(?: x \d+)+) +(\w+)(?: +default of (.+))?", line)
            assert match, line
            name, shape, kind, methods = match.groups()
            found[name] = (shape, kind, methods.split(", ") if methods else [])
        return first, found

    return run


def test_layers_of_resnet18(lines):
    first, found = lines("model=resnet18", "model.resnet18.weights=null")
    assert first.startswith("resnet18:random, an input of 3 x 224 x 224: 16 of 65 spatial layers (--all shows")
    assert list(found)[:3] == ["conv1", "bn1", "relu"]
    assert found["layer2.1"] == ("128 x 28 x 28", "BasicBlock", [])
    shape, kind, methods = found["layer4"]
    assert (shape, kind) == ("512 x 7 x 7", "Sequential")
    assert {"grad_cam", "normgrad"} <= set(methods)
    assert "avgpool" not in found
    assert "fc" not in found


def test_layers_of_efficientnet_lite0(lines):
    _, found = lines("model=efficientnet_lite0")
    assert found["blocks.5"][:2] == ("192 x 7 x 7", "Sequential")
    assert "normgrad" in found["blocks.5"][2]
    assert found["bn2"][0] == "1280 x 7 x 7"
    assert "grad_cam" in found["bn2"][2]
    assert "smoothgrad" not in {name for *_, methods in found.values() for name in methods}
    _, everything = lines("--all", "model=efficientnet_lite0")
    assert len(everything) > 200
    assert everything["blocks.3.0.conv_dw"] == ("240 x 14 x 14", "Conv2dSame", [])


def test_layers_of_a_vision_transformer(lines):
    """Tokens show their grid, without the class token; the default is the block before the last, see `Places`."""
    first, found = lines("model=timm", "model.timm.name=vit_tiny_patch16_224", "model.timm.pretrained=false")
    assert "spatial layers" in first
    shape, kind, methods = found["blocks.10"]
    assert (shape, kind) == ("192 x 14 x 14", "Block")
    assert {"grad_cam", "normgrad"} <= set(methods)
    assert found["patch_embed"][0] == found["norm"][0] == "192 x 14 x 14"
    assert not found["blocks.11"][2]
    assert "head" not in found


def test_a_model_without_default_layers_shows_the_others(lines):
    _, found = lines("model=timm", "model.timm.name=levit_128s", "model.timm.pretrained=false")
    assert found["stages.0"][0] == "128 x 14 x 14"
    assert "stages.1" not in found  # its 7 x 7 tokens take over every second place
    assert not any(methods for *_, methods in found.values())


def test_a_models_own_choice_is_marked(lines, tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    words = [word for word in ARGUMENTS if word.startswith("model")]
    first, found = lines(*words, "model.callable.layers={grad_cam: body.0}")
    sys.modules.pop("toy", None)
    assert first == "toy:Net, an input of 3 x 16 x 16: 5 of 5 spatial layers"
    assert [shape for shape, *_ in found.values()] == ["6 x 6 x 6"] * 2 + ["8 x 4 x 4"] * 3
    assert "grad_cam" in found["body.0"][2]


def test_what_is_wrong_with_layers():
    with pytest.raises(ConfigError, match="layers knows the flag --all, got --deep"):
        verbs.run_verb("layers", ("--deep",))
    with pytest.raises(ConfigError, match="this takes one model, got"):
        verbs.run_verb("layers", ("model=[resnet18,efficientnet_lite0]", "model.resnet18.weights=null"))


def test_layers_of_a_model_of_texts_stand_for_its_tokens(lines):
    pytest.importorskip("vaderSentiment")
    first, found = lines("model=planted_text")
    assert first == "planted_text, an input of 8 x 6: 1 of 1 spatial layers"
    assert found["read"][:2] == ("3 x 6", "Linear")
    assert "normgrad" in found["read"][2]
