"""CUB-200-2011 in the layout of its release: parts, attributes with certainty, the vote of a class, broken files."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from xaieval.datasets.cub import Cub
from xaieval.datasets.cub_attributes import place_of
from xaieval.datasets.preprocess import DatasetError, Preprocess

CONF = Path(__file__).parents[1] / "conf" / "dataset"
PLAIN = Preprocess(24, 24)
PARTS = (
    *("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape"),
    *("right eye", "right leg", "right wing", "tail", "throat"),
)
MERGED = ("back", "beak", "belly", "breast", "crown", "forehead", "eye", "leg", "wing", "nape", "tail", "throat")
ATTRIBUTES = {
    "has_bill_shape::curved_(up_or_down)": "beak",
    "has_wing_color::blue": "wing",
    "has_upperparts_color::rufous": "back",
    "has_underparts_color::white": "belly",
    "has_breast_pattern::solid": "breast",
    "has_back_color::brown": "back",
    "has_tail_shape::forked_tail": "tail",
    "has_upper_tail_color::black": "tail",
    "has_head_pattern::eyebrow": "crown",
    "has_throat_color::yellow": "throat",
    "has_eye_color::black": "eye",
    "has_bill_length::about_the_same_as_head": "beak",
    "has_forehead_color::grey": "forehead",
    "has_under_tail_color::buff": "tail",
    "has_nape_color::red": "nape",
    "has_belly_color::white": "belly",
    "has_wing_shape::pointed-wings": "wing",
    "has_size::small_(5_-_9_in)": None,
    "has_shape::duck-like": None,
    "has_primary_color::black": None,
    "has_leg_color::pink": "leg",
    "has_crown_color::crested": "crown",
}
CLASSES = ("001.Black_footed_Albatross", "002.Spötter", "003.Wren")
SPLIT = (1, 1, 1, 1, 0, 0)  # of each class: four pictures to train, two to test


def names(*rows):
    return "".join(f"{number} {name}\n" for number, name in enumerate(rows, 1))


def files():
    return [f"{name}/{name[4:]}_{number:04}.jpg" for name in CLASSES for number in range(len(SPLIT))]


def labels(seed=0):
    """Presence and certainty `(18, 22)` of every picture and attribute."""
    random = np.random.default_rng(seed)
    present = random.random((18, 22)) < random.random((3, 22)).repeat(6, 0)
    certainty = random.integers(1, 5, (18, 22))
    present[:6, 0], certainty[:6, 0] = [1, 1, 0, 0, 0, 0], 4  # a tie in the first class
    present[:6, 1], certainty[:6, 1] = 0, 1  # never visible there: no vote
    present[:6, 2], certainty[:6, 2] = [1, 0, 0, 0, 1, 1], [4, 1, 1, 1, 4, 4]  # one vote, for
    present[:6, 3], certainty[:6, 3] = [0, 0, 0, 1, 1, 1], [3, 3, 4, 4, 4, 4]  # lost, though tests would turn it
    present[:6, 4], certainty[:6, 4] = [1, 1, 1, 0, 0, 0], [1, 1, 2, 4, 4, 4]  # won by doubtful votes
    present[:, 5], certainty[:, 5] = 0, 4  # in no class
    return present, certainty


@pytest.fixture
def release(tmp_path):
    """The folder `CUB_200_2011` and, beside it, `attributes.txt`, as in the archive."""
    root = tmp_path / "CUB_200_2011"
    present, certainty = labels()
    tables = {
        "images.txt": names(*files()),
        "classes.txt": names(*CLASSES),
        "image_class_labels.txt": names(*(1 + row // 6 for row in range(18))),
        "train_test_split.txt": names(*(SPLIT * 3)),
        "bounding_boxes.txt": names(*["4.0 6.0 10.0 12.0"] * 18),
        "parts/parts.txt": names(*PARTS),
        "parts/part_locs.txt": "".join(
            f"{image} {part} {4.0 + part} {6.0 + image % 3} 1\n" for image in range(1, 19) for part in range(1, 16)
        ),
        "attributes/certainties.txt": names("not visible", "guessing", "probably", "definitely"),
        "attributes/image_attribute_labels.txt": "".join(
            f"{image + 1} {number + 1} {present[image, number]:d} {certainty[image, number]} {12.7 + number}\n"
            for image in range(18)
            for number in range(22)
        ),
        "../attributes.txt": names(*ATTRIBUTES),
    }
    for file in files():
        path = root / "images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 24)).save(path)
    for name, text in tables.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def changed(root, name, old, new):
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def replaced(root, name, line, new):
    path = root / name
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = new
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def concepts(root, **options):
    """Of the test pictures, by name."""
    samples = Cub(str(root), **{"min_classes": 0, **options}).load(PLAIN)
    return {
        sample.id: dict(zip(sample.parts.scheme.concepts, sample.parts.concepts.tolist(), strict=True))
        for sample in samples
        if sample.parts is not None
    }


# -- attributes ------------------------------------------------------------------------------------------------------


def voted(certainty_at_least=1):
    """The vote of the training pictures, counted one by one as the code of Koh et al. does."""
    present, certainty = labels()
    result = np.zeros((3, 22), dtype=bool)
    for class_ in range(3):
        for attribute in range(22):
            votes: Counter[bool] = Counter()
            for picture in range(6 * class_, 6 * class_ + 6):
                there, sure = bool(present[picture, attribute]), int(certainty[picture, attribute])
                if SPLIT[picture % 6] and sure >= certainty_at_least and not (not there and sure == 1):
                    votes[there] += 1
            result[class_, attribute] = votes[True] >= votes[False]
    return result


@pytest.mark.parametrize("certainty", [1, 2, 3, 4])
def test_a_class_votes(release, certainty):
    expected = voted(certainty)
    told = concepts(release, certainty=certainty)
    assert len(told) == 6
    for row, name in enumerate(files()):
        if not SPLIT[row % 6]:
            assert list(told[name]) == list(ATTRIBUTES)
            assert list(told[name].values()) == expected[row // 6].tolist()


def test_ties_and_doubts_of_a_vote(release):
    first = list(concepts(release)[files()[4]].values())
    assert first[:5] == [True, True, True, False, True]
    doubted = list(concepts(release, certainty=2)[files()[4]].values())
    assert doubted[:5] == [True, True, True, False, True]  # one vote to one
    assert list(concepts(release, certainty=3)[files()[4]].values())[4] is False


@pytest.mark.parametrize("least", [1, 2, 3])
def test_attributes_of_few_classes_are_left_out(release, least):
    kept = voted().sum(0) >= least
    assert 0 < kept.sum() < 22
    for denoised in (True, False):
        told = concepts(release, min_classes=least, denoised=denoised)
        assert all(
            list(one) == [name for name, keep in zip(ATTRIBUTES, kept, strict=True) if keep] for one in told.values()
        )


@pytest.mark.parametrize("certainty", [1, 3])
def test_pictures_may_speak_for_themselves(release, certainty):
    present, sure = labels()
    told = concepts(release, denoised=False, certainty=certainty)
    for row, name in enumerate(files()):
        if not SPLIT[row % 6]:
            assert list(told[name].values()) == (present[row] & (sure[row] >= certainty)).tolist()


def test_lines_with_a_number_too_many(release):
    """Lines of pictures 2275 and 9364 of the release have a 0 and a blank too many before the time."""
    path = release / "attributes" / "image_attribute_labels.txt"
    expected = concepts(release)
    lines = [line.rsplit(" ", 1) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(f"{line} 0  {time}\n" if row % 5 == 0 else f"{line} {time}\n" for row, (line, time) in enumerate(lines))
    )
    assert concepts(release) == expected


def test_pictures_need_not_be_in_the_order_of_their_numbers(release):
    expected = concepts(release)
    for name in ("images.txt", "attributes/image_attribute_labels.txt", "image_class_labels.txt"):
        path = release / name
        path.write_text("".join(reversed(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    assert concepts(release) == expected
    assert Cub(str(release), min_classes=1).load(PLAIN)[0].id == files()[17]


def test_where_attributes_are():
    for name, part in ATTRIBUTES.items():
        assert place_of(name, MERGED) == (-1 if part is None else MERGED.index(part))


@pytest.mark.parametrize("place", ["attributes/attributes.txt", "attributes.txt"])
def test_names_of_attributes_may_lie_elsewhere(release, place):
    (release.parent / "attributes.txt").rename(release / place)
    assert len(concepts(release.parent)) == 6  # the folder above will do, too


# -- parts -----------------------------------------------------------------------------------------------------------


def located(root, text, size=(24, 24), preprocess=PLAIN):
    """The first test picture, with the points of its parts given."""
    replaced(root, "images.txt", 5, "5 002.Spötter/vögel.png")
    picture = np.zeros((size[1], size[0]), np.uint8)
    rows = [line.split() for line in text.splitlines()]
    for _, x, y, visible in rows:
        picture[int(float(y)), int(float(x))] = 255 * int(visible)
    Image.fromarray(picture).save(root / "images" / "002.Spötter" / "vögel.png")
    path = root / "parts" / "part_locs.txt"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("5 ")]
    path.write_text("\n".join(kept + [f"5 {' '.join(row)}" for row in rows]) + "\n")
    sample = Cub(str(root), min_classes=1).load(preprocess)[0]
    assert sample.id == "002.Spötter/vögel.png"
    return sample


def place(sample, name):
    number = sample.parts.scheme.parts.index(name)
    return sample.parts.visible[number].item(), sample.parts.centers[number]


def test_parts_are_points_and_sides_are_merged(release):
    rows = ["1 3.0 5.0 1", "2 0.0 0.0 0", "7 0.0 0.0 0", "11 9.0 2.0 1", "8 4.0 20.0 1", "12 6.0 21.0 1"]
    sample = located(release, "\n".join(rows))
    parts = sample.parts
    assert parts.scheme.parts == MERGED
    assert [parts.scheme.part_of[number] for number, name in enumerate(parts.scheme.concepts) if "bill" in name] == [
        1 for name in parts.scheme.concepts if "bill" in name
    ]
    assert parts.masks is None
    assert parts.visible.sum() == 3
    for name, center in (("back", [5, 3]), ("eye", [2, 9]), ("leg", [20, 4])):  # the right eye, the left leg
        assert place(sample, name)[1].tolist() == center
    assert place(sample, "beak")[0] == 0
    assert place(sample, "beak")[1].isnan().all()
    assert parts.centers[parts.visible > 0].isfinite().all()


@pytest.mark.parametrize(("size", "at"), [((60, 40), "33.0 21.0"), ((40, 60), "19.0 44.0"), ((48, 48), "30.0 8.0")])
def test_a_painted_point_is_found_where_the_part_is(release, size, at):
    sample = located(release, f"2 {at} 1", size, Preprocess(32, 24))
    brightest = divmod(int(sample.input[0].argmax()), 24)
    assert float((place(sample, "beak")[1] - torch.tensor(brightest)).abs().max()) <= 0.5


def test_a_part_beside_the_crop_is_not_seen(release):
    """Of 60 columns 18 to 41 are left: the left eye is gone, so the right one is the eye."""
    sample = located(release, "7 2.0 8.0 1\n11 30.0 8.0 1\n2 50.0 8.0 1", (60, 24))
    assert place(sample, "eye")[1].tolist() == [8, 12]
    assert place(sample, "beak")[0] == 0


def test_a_part_outside_its_picture(release):
    changed(release, "parts/part_locs.txt", "5 3 7.0 8.0 1", "5 3 25.0 8.0 1")
    samples = Cub(str(release), min_classes=1).load(PLAIN)
    with pytest.raises(DatasetError, match=r"0004\.jpg: the belly lies at x 25, y 8, outside the picture of 24 x 24"):
        samples[0]
    assert samples[1].target == 0


# -- pictures --------------------------------------------------------------------------------------------------------


def test_splits_and_targets(release):
    for split, count in (("test", 6), ("train", 12), ("all", 18)):
        samples = Cub(str(release), split=split, min_classes=1).load(PLAIN)
        assert len(samples) == count
        assert [entry.target for entry in samples.entries] == [row for row in range(3) for _ in range(count // 3)]


def test_boxes_and_segmentations(release):
    sample = Cub(str(release), min_classes=1).load(PLAIN)[0]
    box = torch.zeros(24, 24, dtype=torch.bool)
    box[6:18, 4:14] = True
    assert sample.mask is not None
    assert torch.equal(sample.mask, box)
    shares = np.repeat([0, 51, 102, 153, 204, 255], 4).astype(np.uint8)[None].repeat(24, 0)
    for file in files():
        path = release.parent / "segmentations" / Path(file).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shares).save(path)
    sample = Cub(str(release), min_classes=1).load(PLAIN)[0]
    assert sample.mask is not None
    assert torch.equal(sample.mask, torch.arange(24).expand(24, 24) >= 12)  # three of five annotators
    (release.parent / "segmentations" / Path(files()[5]).with_suffix(".png")).unlink()
    with pytest.raises(DatasetError, match=r"expected the file .*segmentations/001.*_0005\.png of .*images\.txt"):
        Cub(str(release), min_classes=1).load(PLAIN)


def test_pictures_are_read_when_asked_for(release):
    samples = Cub(str(release), min_classes=1).load(PLAIN)
    (release / "images" / files()[4]).unlink()
    assert pickle.loads(pickle.dumps(samples[1:]))[0].id == files()[5]
    with pytest.raises(DatasetError, match=r"_0004\.jpg: there is no such file"):
        samples[0]


@pytest.mark.parametrize(
    ("name", "line", "new", "words"),
    [
        ("images.txt", 5, "5 nothing.jpg", r"expected the file .*nothing\.jpg of .*images\.txt, which is not there"),
        ("images.txt", 5, "5", r"images\.txt, line 5: expected a number and a name, got '5'"),
        ("images.txt", 5, "4 x.jpg", r"images\.txt, line 5: the number 4 occurs twice"),
        ("images.txt", 5, f"5 {files()[3]}", "lists 1 images twice"),
        ("images.txt", 5, "50 x.jpg", r"labels\.txt has no line for 1 images of images\.txt, the first is 50"),
        ("image_class_labels.txt", 5, "5 9", r"classes\.txt has no class 9"),
        ("classes.txt", 3, "3 c\n4 d", "1 of 4 classes in .* have no image, the first is 'd'"),
        ("train_test_split.txt", 2, "2", r"train_test_split\.txt, line 2: expected 2 numbers, got '2'"),
        ("bounding_boxes.txt", 2, "2 1 2 3 x", r"bounding_boxes\.txt, line 2: expected 5 numbers, got '2 1 2 3 x'"),
        ("bounding_boxes.txt", 2, "2 1 2 nan 3", r"bounding_boxes\.txt, line 2: expected 5 numbers"),
        ("parts/part_locs.txt", 2, "1 16 1 1 1", r"part_locs\.txt: parts\.txt has no part 16"),
        ("attributes/image_attribute_labels.txt", 7, "1 23 0 1 2.5", r"labels\.txt, line 7: there is no attribute 23"),
        ("attributes/image_attribute_labels.txt", 7, "1 7 2 1 2.5", "line 7: is_present is 2, expected 0 or 1"),
        ("attributes/image_attribute_labels.txt", 7, "1 7 1 0 2.5", "line 7: the certainty is 0, expected 1 to 4"),
        ("attributes/image_attribute_labels.txt", 7, "1 7 1", "line 7: expected 4 numbers, got '1 7 1'"),
        ("attributes/image_attribute_labels.txt", 7, "1 7 ja 4 2.5", "line 7: expected 4 numbers, got '1 7 ja 4 2.5'"),
    ],
)
def test_broken_tables(release, name, line, new, words):
    replaced(release, name, line, new)
    with pytest.raises(DatasetError, match=words):
        Cub(str(release), min_classes=1).load(PLAIN)


@pytest.mark.parametrize(
    "name", ["classes.txt", "bounding_boxes.txt", "parts/parts.txt", "attributes/image_attribute_labels.txt"]
)
def test_missing_and_empty_tables(release, name):
    (release / name).write_text("")
    with pytest.raises(DatasetError, match=f"{name} is empty; expected"):
        Cub(str(release), min_classes=1).load(PLAIN)
    (release / name).unlink()
    with pytest.raises(DatasetError, match=f"expected the file .*{name}, which is not there; unpack"):
        Cub(str(release), min_classes=1).load(PLAIN)


def test_a_class_that_cannot_vote(release):
    replaced(release, "train_test_split.txt", 1, "1 0\n2 0\n3 0\n4 0")
    for line in range(5, 8):
        replaced(release, "train_test_split.txt", line, "")
    with pytest.raises(DatasetError, match=r"1 of 3 classes have no training picture .* the first is '001\.Black"):
        Cub(str(release)).load(PLAIN)
    assert len(concepts(release, denoised=False)) == 10


def test_pictures_without_labels(release):
    path = release / "attributes" / "image_attribute_labels.txt"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("5 ")))
    with pytest.raises(DatasetError, match=r"no label of 1 images, the first is '001\.Black.*_0004\.jpg'"):
        Cub(str(release)).load(PLAIN)


def test_too_many_classes_asked_for(release):
    with pytest.raises(DatasetError, match="no attribute that holds for 10 of the 3 classes; lower min_classes"):
        Cub(str(release)).load(PLAIN)


def test_folders_without_the_release(release):
    with pytest.raises(DatasetError, match=r"expected the folder CUB_200_2011 with images\.txt at .*parts"):
        Cub(str(release / "parts")).load(PLAIN)
    (release.parent / "attributes.txt").unlink()
    with pytest.raises(DatasetError, match=r"expected attributes\.txt in .*attributes or .* or "):
        Cub(str(release)).load(PLAIN)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "validation"}, "split test, train, all, got 'validation'"),
        ({"certainty": 5}, "certainty 1 .not visible. to 4 .definitely., got 5"),
        ({"min_classes": -1}, "min_classes to be at least 0, got -1"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        Cub("x", **options)


def test_yaml():
    config = OmegaConf.load(CONF / "cub.yaml")
    config.cub.path = "x"
    assert instantiate(config.cub) == Cub("x")
