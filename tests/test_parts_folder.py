"""Pictures with parts and concepts in a JSON file, and what is said where it does not fit."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from xaieval.classifier import Classifier
from xaieval.collate import collate
from xaieval.datasets.parts_folder import PartsFolder
from xaieval.datasets.preprocess import DatasetError, Preprocess

CONF = Path(__file__).parents[1] / "conf" / "dataset"
WHOLE = Preprocess(16, 16, squash=True)


def painted(size, *boxes):
    """A black picture with white boxes (left, top, right, bottom)."""
    values = np.zeros((size[1], size[0]), np.uint8)
    for left, top, right, bottom in boxes:
        values[top:bottom, left:right] = 255
    return Image.fromarray(values)


def content(**changed):
    """Two birds with masks, and a third whose wing is hidden."""
    images = [
        {
            "file": "vögel/鳥.png",
            "label": "robin",
            "parts": {"beak": {"mask": "vögel/beak.png"}, "Flügel": {"mask": "vögel/wing.png", "visible": 0.5}},
            "concepts": ["beak: red", "small"],
        },
        {"file": "b.png", "label": "wren", "parts": {"beak": {"mask": "beak.png", "point": [2, 5]}}},
        {"file": "c.png", "label": 1, "parts": {"Flügel": {"visible": False}}, "concepts": ["Flügel: länglich"]},
    ]
    return {
        "parts": ["beak", "Flügel"],
        "concepts": {"beak: red": "beak", "Flügel: länglich": "Flügel", "small": None},
        "classes": ["robin", "wren"],
        "images": images,
        **changed,
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vögel").mkdir()
    for name, size, boxes in (
        ("vögel/鳥.png", (32, 32), [(0, 0, 4, 4), (20, 20, 30, 28)]),
        ("vögel/beak.png", (32, 32), [(0, 0, 4, 4)]),
        ("vögel/wing.png", (32, 32), [(20, 20, 30, 28)]),
        ("b.png", (16, 16), [(0, 4, 6, 8)]),
        ("beak.png", (16, 16), [(0, 4, 6, 8)]),
        ("c.png", (16, 16), []),
        ("small.png", (8, 8), [(0, 0, 1, 1)]),
        ("nothing.png", (16, 16), []),
    ):
        painted(size, *boxes).save(tmp_path / name)
    return tmp_path


def written(folder, told):
    (folder / "parts.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return PartsFolder(str(folder))


def loaded(folder, told):
    return list(written(folder, told).load(WHOLE))


def test_masks_centers_and_concepts(folder):
    first, second, third = loaded(folder, content())
    assert [sample.id for sample in (first, second, third)] == ["vögel/鳥.png", "b.png", "c.png"]
    assert [sample.target for sample in (first, second, third)] == [0, 1, 1]
    parts = first.parts
    assert parts.scheme.parts == ("beak", "Flügel")
    assert parts.scheme.concepts == ("beak: red", "Flügel: länglich", "small")
    assert parts.scheme.part_of == (0, 1, -1)
    assert parts.centers.tolist() == [[0.5, 0.5], [11.5, 12]]
    assert parts.visible.tolist() == [1, 0.5]
    assert parts.concepts.tolist() == [True, False, True]
    assert torch.equal(parts.masks.any(0), first.input[0] > 0.5)  # each painted where the picture is white
    assert torch.equal(first.mask, parts.masks.any(0))
    assert second.parts.centers[0].tolist() == [5, 2]  # the point, not the middle (5.5, 2.5)
    assert second.parts.centers[1].isnan().all()
    assert second.parts.visible.tolist() == [1, 0]
    assert not second.parts.masks[1].any()
    assert not third.parts.masks.any()
    assert not third.parts.visible.any()
    assert third.parts.concepts.tolist() == [False, True, False]  # holds, though it is hidden


def test_a_batch_of_them_binds(folder):
    samples = loaded(folder, content())
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 2))
    explicand = Classifier(network).explicand(**collate(samples))
    assert explicand.parts is not None
    assert explicand.parts.masks is not None
    assert explicand.parts.masks.shape == (3, 2, 16, 16)


def test_points_alone_give_no_masks(folder):
    told = content(images=[{"file": "b.png", "label": 0, "parts": {"beak": {"point": [3.0, 7]}}}])
    del told["classes"]
    (sample,) = loaded(folder, told)
    assert sample.parts.masks is None
    assert sample.mask is None
    assert sample.parts.centers[0].tolist() == [7, 3]
    assert sample.parts.visible.tolist() == [1, 0]


def test_the_object_as_a_whole(folder):
    told = content(images=[{"file": "b.png", "mask": "beak.png", "parts": {"beak": {"point": [3, 7]}}}], classes=[])
    (sample,) = loaded(folder, told)
    assert sample.target is None
    assert torch.equal(sample.mask, sample.input[0] > 0.5)


def test_pictures_are_read_when_asked_for(folder):
    samples = written(folder, content()).load(WHOLE)
    (folder / "vögel" / "beak.png").unlink()
    part = pickle.loads(pickle.dumps(samples[1:]))
    assert part[0].id == "b.png"
    with pytest.raises(DatasetError, match=r"鳥\.png: .*beak\.png: there is no such file"):
        samples[0]


def test_the_crop_cuts_parts_off(folder):
    """16 of 32 columns are left, 8 to 23: no beak, four of the ten columns of the wing."""
    painted((32, 16), (0, 4, 6, 8), (20, 4, 30, 8)).save(folder / "b.png")
    painted((32, 16), (0, 4, 6, 8)).save(folder / "beak.png")
    painted((32, 16), (20, 4, 30, 8)).save(folder / "wing.png")
    parts = {"beak": {"mask": "beak.png"}, "Flügel": {"mask": "wing.png", "visible": 0.5}}
    dataset = written(folder, content(images=[{"file": "b.png", "parts": parts}], classes=[]))
    (sample,) = dataset.load(Preprocess(16, 16))
    assert sample.parts is not None
    assert sample.parts.visible.tolist() == pytest.approx([0, 0.2])
    assert sample.parts.centers[0].isnan().all()
    assert sample.parts.centers[1].tolist() == [5.5, 13.5]


def first(**changed):
    """The file with something of its first picture changed."""
    told = content()
    told["images"][0] |= changed
    return told


def beak(**told):
    return first(parts={"beak": told})


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (first(file="d.png"), r"image 1: there is no file 'd\.png' in "),
        (first(file=None), "image 1: expected the path of a file below .*, got null"),
        (first(mask="m.png"), r"鳥\.png\): there is no file 'm\.png'"),
        (first(mask="vögel/beak.png"), "2 of 3 images lack the mask of the object .* the first is 'b.png'"),
        (beak(mask="m.png"), r"part 'beak': there is no file 'm\.png'"),
        (beak(), r'part \'beak\': expected a point \[x, y\] or the file of a mask, or "visible": false'),
        (beak(point=[1]), r"the point is \[1\], expected \[x, y\]"),
        (beak(point=[1, "2"]), r'the point is \[1, "2"\], expected'),
        (beak(point=[1, float("nan")]), r"the point is \[1, NaN\], expected"),
        (beak(mask="beak.png", visible=2), "visible is 2, expected true, false or a share"),
        (beak(mask="beak.png", shown=True), "unknown key 'shown'; a part has point, mask, visible"),
        (beak(point=[1, 2]), "'beak' of 'b.png' has a mask, but 'beak' of 'vögel/鳥.png' a point alone"),
        (first(parts={"beek": {"point": [1, 2]}}), 'unknown part "beek"; did you mean beak.; the file lists beak, Fl'),
        (first(parts=["beak"]), "expected its parts as an object"),
        (first(concepts=["beak: rot"]), 'unknown concept "beak: rot"; did you mean beak: red'),
        (first(concepts="small"), 'expected a list, got "small"'),
        (first(label="sparrow"), 'unknown class "sparrow"; the file lists robin, wren'),
        (first(label=2), "the label is 2, expected the index of the class"),
        (first(label=True), "the label is true, expected the index"),
        (first(label="wren"), "1 of 2 classes have no image, the first is 'robin'"),
        (first(file="b.png"), "lists 1 images twice, the first is 'b.png'"),
        (first(colour="red"), "unknown key 'colour'; a picture has file"),
        (content(classes=["robin", "robin"]), "classes: the name 'robin' occurs twice"),
        (content(classes=[], images=[{"file": "b.png", "label": "wren"}]), "names need a list of classes"),
        (content(parts=[]), "lists no parts"),
        (content(parts=["beak", 1]), "parts: expected names, got 1"),
        (content(concepts=["beak: red"]), "concepts: expected an object with the part of each concept"),
        (content(concepts={"beak: red": "bill"}), 'concepts: unknown part "bill"'),
        (content(images=[]), "lists no images"),
        (content(images=["b.png"]), 'image 1: expected a picture as an object with file, .*, got "b.png"'),
        (content(labels=[]), "unknown key 'labels'"),
        ({"parts": ["beak"]}, "lacks 'concepts'; expected an object with parts, concepts and images"),
        ([], r"expected the file as an object with parts, concepts, classes, images, got \[\]"),
    ],
)
def test_mistakes_in_the_file(folder, told, words):
    with pytest.raises(DatasetError, match=words):
        written(folder, told).load(WHOLE)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            beak(mask="small.png"),
            r"鳥.png: the mask .*small.png of the part 'beak' has 8 x 8 pixels, expected the 32 x 32",
        ),
        (
            first(parts={"beak": {"mask": "vögel/beak.png", "point": [32, 3]}}),
            "'beak' lies at x 32, y 3, outside the pict",
        ),
        (
            first(parts={"beak": {"mask": "vögel/beak.png", "point": [3, -1]}}),
            "'beak' lies at x 3, y -1, outside the pict",
        ),
    ],
)
def test_mistakes_in_a_picture(folder, told, words):
    samples = written(folder, told).load(WHOLE)
    with pytest.raises(DatasetError, match=words):
        samples[0]
    assert samples[1].id == "b.png"  # the others are well


def test_an_empty_mask(folder):
    told = content()
    told["images"][1]["parts"]["beak"]["mask"] = "nothing.png"
    with pytest.raises(DatasetError, match="'beak' is empty; leave the part out"):
        written(folder, told).load(WHOLE)[1]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"parts": [', "parts.json cannot be read .*; expected JSON in UTF-8 with parts, concepts and images"),
        (b"", "cannot be read .*; expected JSON"),
        ('{"parts": ["Flügel"]}'.encode("latin-1"), "cannot be read .*; expected JSON in UTF-8"),
        (b'{"parts": [], "parts": []}', "the key 'parts' occurs twice in one object"),
    ],
)
def test_what_is_no_json(folder, raw, words):
    (folder / "parts.json").write_bytes(raw)
    with pytest.raises(DatasetError, match=words):
        PartsFolder(str(folder)).load(WHOLE)


def test_missing_folders_and_files(tmp_path):
    with pytest.raises(DatasetError, match="none is not there"):
        PartsFolder(str(tmp_path / "none")).load(WHOLE)
    with pytest.raises(DatasetError, match=r"there is no file .*parts\.json; expected JSON with parts"):
        PartsFolder(str(tmp_path)).load(WHOLE)


def test_names_and_yaml(tmp_path):
    assert PartsFolder(str(tmp_path)).name == tmp_path.name
    config = OmegaConf.load(CONF / "parts.yaml")
    config.parts.path = "x"
    assert instantiate(config.parts) == PartsFolder("x")
