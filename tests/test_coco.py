"""Instances of COCO's format as parts and concepts: polygons, counts, crowds, and what does not fit."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from xaieval.datasets import coco as coco_module
from xaieval.datasets.coco import Coco
from xaieval.datasets.preprocess import DatasetError, Preprocess

pytest.importorskip("pycocotools")

CONF = Path(__file__).parents[1] / "conf" / "dataset"
WHOLE = Preprocess(16, 16, squash=True)


def polygon(left, top, right, bottom):
    """The corners of the pixels from left and top up to right and bottom, which are outside."""
    return [left, top, right, top, right, bottom, left, bottom]


def counts(size, *boxes):
    """Lengths of runs, column by column, first of zeros, as COCO's crowds are stored."""
    flat = painted(size, *boxes).ravel(order="F") > 0
    edges = np.flatnonzero(np.diff(flat.astype(int), prepend=0)).tolist()
    return {"size": [size[1], size[0]], "counts": np.diff([0, *edges, flat.size]).tolist()}


def painted(size, *boxes):
    values = np.zeros((size[1], size[0]), np.uint8)
    for left, top, right, bottom in boxes:
        values[top:bottom, left:right] = 255
    return values


def instance(number, image, category, segmentation, area=1.0, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "area": area,
        "iscrowd": crowd,
        "bbox": [0, 0, 1, 1],
    }


def content(**changed):
    """Picture 7: two dogs and a crowd of sheep; 8: one sheep of two polygons; 9: nothing."""
    return {
        "info": {"description": "made up"},
        "licenses": [],
        "images": [
            {"id": 7, "file_name": "ü.png", "width": 32, "height": 32},
            {"id": 8, "file_name": "b.png", "width": 16, "height": 16},
            {"id": 9, "file_name": "none.png", "width": 16, "height": 16},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 20, "name": "sheep"}, {"id": 90, "name": "toothbrush"}],
        "annotations": [
            instance(1, 7, 18, [polygon(0, 0, 4, 4)], 16),
            instance(2, 7, 18, [polygon(8, 8, 24, 24)], 256),
            instance(3, 7, 20, counts((32, 32), (0, 24, 32, 32)), 256.5, crowd=1),
            instance(4, 8, 20, [polygon(0, 4, 6, 8), polygon(10, 4, 12, 8)], 32),
        ],
        **changed,
    }


@pytest.fixture
def folder(tmp_path):
    for name, size, boxes in (
        ("ü.png", (32, 32), [(0, 0, 4, 4), (8, 8, 24, 24), (0, 24, 32, 32)]),
        ("b.png", (16, 16), [(0, 4, 6, 8), (10, 4, 12, 8)]),
    ):
        Image.fromarray(painted(size, *boxes)).save(tmp_path / name)
    return tmp_path


def written(folder, told, **options):
    (folder / "instances.json").write_text(json.dumps(told), encoding="utf-8")
    return Coco(str(folder), str(folder / "instances.json"), **options)


def test_categories_are_parts_and_concepts(folder):
    first, second = written(folder, content()).load(WHOLE)  # the picture without instances is left out
    assert [sample.id for sample in (first, second)] == ["ü.png", "b.png"]
    assert first.target is second.target is None
    parts = first.parts
    assert parts.scheme.parts == parts.scheme.concepts == ("dog", "sheep", "toothbrush")
    assert parts.scheme.part_of == (0, 1, 2)
    assert parts.concepts.tolist() == [True, True, False]
    assert parts.visible.tolist() == [1, 1, 0]
    assert parts.centers[:2].tolist() == [[7.5, 7.5], [13.5, 7.5]]  # of the larger dog; of the crowd
    assert parts.centers[2].isnan().all()
    assert torch.equal(parts.masks.any(0), first.input[0] > 0.5)
    assert torch.equal(first.mask, first.input[0] > 0.5)
    assert parts.masks.sum((1, 2)).tolist() == [4 + 64, 64, 0]
    assert torch.equal(second.parts.masks[1], second.input[0] > 0.5)
    assert second.parts.centers[1].tolist() == [5.5, 4.5]


def test_counts_as_a_string_are_the_same(folder):
    from pycocotools import mask

    told = content()
    size = told["annotations"][2]["segmentation"]
    packed = mask.frPyObjects(size, 32, 32)
    told["annotations"][2]["segmentation"] = {"size": packed["size"], "counts": packed["counts"].decode()}
    plain = written(folder, content()).load(WHOLE)[0].parts
    assert torch.equal(written(folder, told).load(WHOLE)[0].parts.masks, plain.masks)


def test_a_crowd_gives_a_center_only_where_nothing_else_is(folder):
    told = content()
    told["annotations"].append(instance(5, 7, 20, [polygon(28, 0, 32, 4)], 16))
    parts = written(folder, told).load(WHOLE)[0].parts
    assert parts.centers[1].tolist() == [0.5, 14.5]
    assert parts.masks[1].sum() == 64 + 4
    assert written(folder, told, labeled=True).load(WHOLE)[0].target == 0  # the larger dog, not the larger crowd


def test_some_categories_in_another_order(folder):
    (sample,) = written(folder, content(), categories=("sheep", "dog"), labeled=True).load(WHOLE)[:1]
    assert sample.parts.scheme.parts == ("sheep", "dog")
    assert sample.parts.visible.tolist() == [1, 1]
    assert sample.target == 1
    assert torch.equal(sample.mask, sample.parts.masks[1])


def test_the_label_is_of_the_largest_instance(folder):
    told = content()
    told["annotations"].append(instance(5, 7, 20, [polygon(28, 0, 32, 4)], 300))
    first, second = written(folder, told, labeled=True).load(WHOLE)
    assert (first.target, second.target) == (1, 1)
    assert torch.equal(first.mask, first.parts.masks[1])


def test_the_crop_cuts_instances_off(folder):
    """Of 32 columns 8 to 23 are left: the first is gone, four columns of ten of the second, the center is of these."""
    Image.new("L", (32, 16)).save(folder / "b.png")
    told = content(
        annotations=[
            instance(1, 8, 18, [polygon(0, 0, 7, 16)]),
            instance(2, 8, 18, [polygon(20, 4, 30, 8)]),
            instance(3, 8, 20, [polygon(0, 0, 7, 16)]),
        ]
    )
    told["images"][1] |= {"width": 32}
    (sample,) = written(folder, told).load(Preprocess(16, 16))
    assert sample.parts.visible.tolist() == pytest.approx([16 / (7 * 16 + 40), 0, 0])
    assert sample.parts.centers[0].tolist() == [5.5, 13.5]
    assert sample.parts.centers[1].isnan().all()
    assert sample.parts.concepts.tolist() == [True, True, False]  # in the picture, not in the crop


def test_pictures_are_read_when_asked_for(folder):
    samples = written(folder, content()).load(WHOLE)
    (folder / "ü.png").unlink()
    assert pickle.loads(pickle.dumps(samples[1:]))[0].id == "b.png"
    with pytest.raises(DatasetError, match=r"ü\.png: there is no such file"):
        samples[0]


def changed(list_, place, **fields):
    told = content()
    told[list_][place] = {key: value for key, value in (told[list_][place] | fields).items() if value != "gone"}
    return told


@pytest.mark.parametrize(
    ("told", "options", "words"),
    [
        (changed("images", 0, file_name="x.png"), {}, r"image 7: there is no file 'x\.png' in "),
        (changed("images", 0, width="gone"), {}, r"images\[0\] has no 'width'; expected id, file_name, width, height"),
        (changed("annotations", 1, image_id=70), {}, "annotation 2: there is no image_id 70 in the file"),
        (changed("annotations", 1, category_id=1), {}, "annotation 2: there is no category_id 1 in the file"),
        (changed("annotations", 1, segmentation="gone"), {}, r"annotations\[1\] has no 'segmentation'"),
        (changed("annotations", 1, area="gone"), {"labeled": True}, r"annotations\[1\] has no 'area'"),
        (changed("annotations", 1, area=None), {"labeled": True}, "annotation 2: the area is None, expected a number"),
        (changed("categories", 1, name="dog"), {}, "two categories 'dog'; rename one"),
        (changed("images", 1, file_name="ü.png"), {}, "1 samples occur twice, the first is 'ü.png'"),
        (content(), {"categories": ("dgo",)}, "no category 'dgo'; did you mean dog.; it has dog, sheep, toothbrush"),
        (content(), {"categories": ("dog", "toothbrush")}, "no image with an instance of 'toothbrush'; leave"),
        (content(), {"categories": ("toothbrush",)}, "no image with an instance of toothbrush; expected one"),
        (content(annotations=[]), {}, "has no list of annotations; expected COCO's images, annotations and categories"),
        ([], {}, "has no list of categories"),
    ],
)
def test_mistakes_in_the_file(folder, told, options, words):
    with pytest.raises(DatasetError, match=words):
        written(folder, told, **options).load(WHOLE)


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([polygon(40, 8, 50, 10)], "annotation 2 lies outside the picture of 32 x 32 pixels"),
        ([[8, -9, 9, -9, 9, -2]], "annotation 2 lies outside the picture"),
        ([[1, 2, 3, 4]], "annotation 2 cannot be drawn .*; expected polygons of at least three points, or counts"),
        ([], "annotation 2 cannot be drawn"),
        (None, "annotation 2 cannot be drawn"),
        ({"size": [32, 32], "counts": [3, 4]}, "annotation 2 cannot be drawn .*the counts do not fill the picture"),
        ({"size": [32, 32], "counts": [3000]}, "annotation 2 cannot be drawn"),
        ({"size": [16, 32], "counts": "PPPPPPP"}, "annotation 2 "),
        (counts((16, 32), (0, 0, 3, 3)), "of annotation 2 is of a picture of 16 x 32 pixels, expected 32 x 32"),
    ],
)
def test_mistakes_in_an_instance(folder, segmentation, words):
    samples = written(folder, changed("annotations", 1, segmentation=segmentation)).load(WHOLE)
    with pytest.raises(DatasetError, match=rf"ü\.png: .*{words}"):
        samples[0]
    assert samples[1].id == "b.png"  # the others are well


def test_an_instance_smaller_than_a_pixel_is_not_seen(folder):
    told = changed("annotations", 3, segmentation=[[3.1, 3.1, 3.2, 3.1, 3.2, 3.2]])
    parts = written(folder, told).load(WHOLE)[1].parts
    assert not parts.visible.any()
    assert parts.concepts[1]


def test_a_picture_of_another_size(folder):
    samples = written(folder, changed("images", 0, width=30)).load(WHOLE)
    with pytest.raises(DatasetError, match=r"ü\.png: the picture has 32 x 32 pixels, its annotation says 30 x 32"):
        samples[0]


def test_missing_files_and_packages(folder, monkeypatch):
    with pytest.raises(DatasetError, match=r"expected the folder of the pictures at .*none"):
        Coco(str(folder / "none"), "x.json").load(WHOLE)
    with pytest.raises(DatasetError, match=r"there is no file .*x\.json; expected JSON with COCO's annotations"):
        Coco(str(folder), str(folder / "x.json")).load(WHOLE)
    (folder / "x.json").write_text("{")
    with pytest.raises(DatasetError, match=r"x\.json cannot be read"):
        Coco(str(folder), str(folder / "x.json")).load(WHOLE)
    monkeypatch.setattr(coco_module, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"needs the package pycocotools: pip install 'xaieval\[coco\]'"):
        Coco(str(folder), "x.json").load(WHOLE)


def test_names_and_yaml(folder):
    assert Coco("x", "a/instances_val2017.json").name == "instances_val2017"
    config = OmegaConf.load(CONF / "coco.yaml")
    config.coco.images, config.coco.annotations = "x", "y.json"
    assert instantiate(config.coco, _convert_="all") == Coco("x", "y.json")
