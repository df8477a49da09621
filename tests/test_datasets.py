"""Pictures on disk become the samples that they should be, and bad ones a sentence."""

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor
from torch.testing import assert_close
from torchvision import transforms

from xaieval.datasets import photos as photos_module
from xaieval.datasets.base import Dataset, Sample
from xaieval.datasets.folder import Folder
from xaieval.datasets.mosaic import Mosaic
from xaieval.datasets.photos import PHOTOS, Photos
from xaieval.datasets.preprocess import DatasetError, Preprocess, open_image
from xaieval.parts import Scheme

CONF = Path(__file__).parents[1] / "conf"
DATA = os.environ.get("XAIEVAL_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="XAIEVAL_TEST_DATA is unset")
SMALL = Preprocess(resize=10, crop=8)


def noise(width, height, channels=3, seed=0, high=256):
    return np.random.default_rng(seed).integers(0, high, (height, width, channels), dtype=np.uint16)


def picture(width, height, seed=0):
    return Image.fromarray(noise(width, height, seed=seed).astype(np.uint8))


# -- preprocessing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(40, 33), (33, 40), (32, 32), (51, 300), (37, 37)])
def test_preprocess_is_torchvision_bit_for_bit(size, interpolation):
    mode = transforms.InterpolationMode(interpolation)
    reference = transforms.Compose([transforms.Resize(32, mode), transforms.CenterCrop(29), transforms.ToTensor()])
    image = picture(*size)
    tensor, mask = Preprocess(32, 29, interpolation)(image)
    assert mask is None
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert torch.equal(tensor, reference(image))


def test_a_mask_goes_the_way_of_its_picture():
    reference = transforms.Compose(
        [transforms.Resize(32, transforms.InterpolationMode.NEAREST), transforms.CenterCrop(29), transforms.ToTensor()]
    )
    painted = Image.fromarray((noise(50, 40, 1)[..., 0] > 128).astype(np.uint8) * 255)
    _, mask = Preprocess(32, 29)(picture(50, 40), painted)
    assert mask is not None
    assert mask.dtype == torch.bool
    assert torch.equal(mask, reference(painted)[0] > 0)


def test_squash_resizes_both_sides():
    reference = transforms.Compose(
        [transforms.Resize((32, 32), transforms.InterpolationMode.BICUBIC), transforms.ToTensor()]
    )
    image = picture(60, 40)
    assert torch.equal(Preprocess(32, 32, squash=True)(image)[0], reference(image))


def drawn(sample: Sample) -> Tensor:
    """The mask of a sample that has one."""
    assert sample.mask is not None
    return sample.mask


def exact(image):
    """The pixels of an 8 x 8 picture that is neither resized nor cut, as bytes `(3, 8, 8)`."""
    return Preprocess(8, 8)(image)[0] * 255


def test_grayscale_is_repeated():
    values = noise(8, 8, 1)[..., 0].astype(np.uint8)
    assert_close(exact(Image.fromarray(values)), torch.from_numpy(values).float().expand(3, 8, 8))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_16_bits_are_scaled_not_clipped(dtype):
    values = noise(8, 8, 1)[..., 0]
    image = Image.fromarray((values * 257).astype(dtype))
    assert image.mode in ("I;16", "I")
    assert_close(exact(image), torch.from_numpy(values.astype(np.float32)).expand(3, 8, 8))


def test_16_bit_png_from_disk(tmp_path):
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    tensor, _ = Preprocess(8, 8).read(tmp_path / "deep.png")
    assert_close(tensor[0], torch.from_numpy(values / 65535).float(), atol=0.5 / 255, rtol=0)


def test_floating_point_pixels_are_taken_as_they_are(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "float.tiff")
    tensor, _ = Preprocess(8, 8).read(tmp_path / "float.tiff")
    assert_close(tensor[2], torch.from_numpy(values), atol=0.5 / 255, rtol=0)


def test_transparency_is_laid_on_white():
    rgba = noise(8, 8, 4).astype(np.uint8)
    rgba[:4, :, 3] = 0  # invisible, whatever color is stored below
    rgba[4:, :, 3] = 255
    pixels = exact(Image.fromarray(rgba, "RGBA"))
    assert (pixels[:, :4] == 255).all()
    assert_close(pixels[:, 4:], torch.from_numpy(rgba[4:, :, :3]).permute(2, 0, 1).float())


def test_half_transparent_black_is_gray():
    assert (exact(Image.new("RGBA", (8, 8), (0, 0, 0, 127))) == 128).all()


@pytest.mark.parametrize("mode", ["1", "P", "LA", "PA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(mode):
    image = Image.new("RGB", (8, 8), "white").convert("L" if mode in ("LA", "PA") else "RGB").convert(mode)
    assert (exact(image) == 255).all()


def test_the_cameras_rotation_is_carried_out(tmp_path):
    upright = picture(20, 12)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned to the left: turn it a quarter clockwise to look at it
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    assert open_image(tmp_path / "phone.png").size == (20, 12)
    assert torch.equal(SMALL.read(tmp_path / "phone.png")[0], SMALL(upright)[0])
    with Image.open(tmp_path / "phone.png") as opened:
        assert torch.equal(SMALL(opened)[0], SMALL(upright)[0])


@pytest.mark.parametrize("inside", [1, 7, 255])
def test_any_value_but_0_is_the_object(inside):
    values = np.zeros((8, 8), np.uint8)
    values[2:5, 3:] = inside
    expected = torch.from_numpy(values > 0)
    palette = Image.fromarray(values, "P")
    palette.putpalette([255, 255, 255] + [0, 0, 0] * 255)  # the colors of a palette say nothing
    for mask in (Image.fromarray(values), palette, Image.fromarray(np.stack([values, 0 * values, 0 * values], 2))):
        found = Preprocess(8, 8)(picture(8, 8), mask)[1]
        assert found is not None
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("options", "words"), [((20, 24), "resize at least 24"), ((8, 0), "crop=0")])
def test_a_crop_larger_than_the_picture_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Preprocess(*options)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match=r"bicubic, bilinear.*got 'cubic'"):
        Preprocess(8, 8, "cubic")


# -- bad files -------------------------------------------------------------------------------------------------------


def broken_files(folder):
    """Name of a bad file and the words its error has to have."""
    (folder / "text.png").write_text("I am no picture")
    (folder / "empty.png").touch()
    picture(64, 64).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:4000])
    picture(30, 7).save(folder / "small.png")
    values = np.full((16, 16), 0.5, np.float32)
    values[3, 4] = np.nan
    Image.fromarray(values).save(folder / "nan.tiff")
    Image.fromarray(np.full((16, 16), 200, np.float32)).save(folder / "float.tiff")
    Image.fromarray(np.full((16, 16), 1 << 20, np.int32)).save(folder / "long.tiff")
    return {
        "text.png": "cannot be read as a picture.*copy it again or leave it out",
        "cut.png": "cannot be read as a picture.*copy it again or leave it out",
        "empty.png": r"is empty \(0 bytes\); expected a picture",
        "small.png": "30 x 7 pixels, fewer than the 8 x 8 that the model looks at; leave it out",
        "nan.tiff": "1 NaN or infinite pixels; expected numbers in .0, 1.: replace them",
        "float.tiff": "run from 200 to 200, expected .0, 1.; rescale",
        "long.tiff": "run from 1048576 to 1048576, expected 16 bits",
    }


def test_bad_files_give_their_name_and_a_sentence(tmp_path):
    for name, words in broken_files(tmp_path).items():
        with pytest.raises(DatasetError, match=f"{name}.*{words}"):
            SMALL.read(tmp_path / name)


def test_one_bad_file_does_not_touch_its_neighbors(tmp_path):
    broken_files(tmp_path)
    samples = Folder(str(tmp_path)).load(SMALL)
    assert len(samples) == 8
    assert samples[samples.ids.index("whole.png")].input.shape == (3, 8, 8)


def test_a_mask_of_another_size(tmp_path):
    picture(20, 16).save(tmp_path / "a.png")
    Image.new("L", (16, 20)).save(tmp_path / "m.png")
    with pytest.raises(DatasetError, match=r"a\.png: the mask has 16 x 20 pixels, expected the 20 x 16 of its picture"):
        SMALL.read(tmp_path / "a.png", tmp_path / "m.png")


def test_a_jpeg_is_no_mask(tmp_path):
    picture(20, 16).save(tmp_path / "a.png")
    Image.new("L", (20, 16)).save(tmp_path / "m.jpg")
    with pytest.raises(DatasetError, match=r"JPEG, whose compression smears.*PNG"):
        SMALL.read(tmp_path / "a.png", tmp_path / "m.jpg")


@pytest.mark.parametrize(
    ("image", "mask", "words"),
    [
        (torch.full((3, 4, 4), torch.nan), None, "'s': 48 pixels are NaN or infinite"),
        (
            torch.linspace(-2, 2, 48).view(3, 4, 4),
            None,
            "run from -2 to 2, expected .0, 1.; normalization is the model's",
        ),
        (torch.zeros(4, 4), None, r"expected the input as float32 .*got float32 of shape \(4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), None, "expected the input as float32 .*got uint8"),
        (torch.zeros(3, 4, 4), torch.zeros(4, 5, dtype=torch.bool), r"the mask as bool of shape \(4, 4\), got bool"),
        (torch.zeros(3, 4, 4), torch.zeros(4, 4), r"the mask as bool of shape \(4, 4\), got float32"),
    ],
)
def test_samples_of_anybodys_dataset_are_checked(image, mask, words):
    with pytest.raises(DatasetError, match=words):
        Sample("s", image, None, mask, ("s",))


# -- folder ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(("b/one.png", "a.JPG", "b/two.webp", ".hidden.png", ".cache/x.png", "notes.txt")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("nothing")
        else:
            picture(20, 16, index).save(path)
    return tmp_path


def table(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_every_picture_of_a_folder_in_order(folder):
    samples = Folder(str(folder)).load(SMALL)
    assert samples.ids == ("a.JPG", "b/one.png", "b/two.webp")
    sample = samples[1]
    assert torch.equal(sample.input, SMALL(picture(20, 16, 0))[0])
    assert (sample.target, sample.mask, sample.sources) == (None, None, ("b/one.png",))
    assert Folder(str(folder)).name == folder.name


def test_labels_csv_is_found_and_its_rows_are_the_samples(folder):
    Image.new("L", (20, 16), 255).save(folder / "b" / "one_mask.png")
    table(folder / "labels.csv", "\ufefffile,label,mask,note\nb/one.png, 5,b/one_mask.png,x\n./a.JPG,,,\n")
    samples = Folder(str(folder)).load(SMALL)
    assert samples.ids == ("a.JPG", "b/one.png")
    first, second = samples
    assert (first.target, first.mask) == (None, None)
    assert second.target == 5
    assert drawn(second).all()


def test_a_table_elsewhere_brings_its_own_masks(folder):
    table(folder / ".cache" / "table.csv", "file,mask\nb/one.png,one.png\nb/two.webp,masks/two.png\n")
    Image.new("L", (20, 16), 1).save(folder / ".cache" / "one.png")
    (folder / "masks").mkdir()
    Image.new("L", (20, 16), 0).save(folder / "masks" / "two.png")
    samples = Folder(str(folder), labels=str(folder / ".cache" / "table.csv")).load(SMALL)
    assert [bool(drawn(sample).any()) for sample in samples] == [True, False]


def test_a_column_may_name_what_masks_show(folder):
    """Each name is a part, seen at the mask, and a concept; the others are not there."""
    for name, top in (("one", 0), ("two", 8)):
        mask = Image.new("L", (20, 16))
        mask.paste(255, (10, top, 20, top + 8))
        mask.save(folder / f"{name}_mask.png")
    table(folder / "labels.csv", "file,mask,what\nb/one.png,one_mask.png,zèbre\nb/two.webp,two_mask.png,âne\n")
    samples = Folder(str(folder), concept="what").load(Preprocess(16, 16))
    for sample, part in zip(samples, (0, 1), strict=True):
        parts = sample.parts
        assert parts is not None
        assert parts.masks is not None
        assert parts.scheme == Scheme(("zèbre", "âne"), ("zèbre", "âne"), (0, 1))
        assert parts.concepts.tolist() == [part == 0, part == 1]
        assert torch.equal(parts.masks[part], drawn(sample))
        assert parts.centers[part].tolist() == [3.5 + 8 * part, 11.5]
        assert parts.visible[part] == pytest.approx(0.8)  # two of the ten columns are cut off
        assert not parts.masks[1 - part].any()
    assert Folder(str(folder)).load(SMALL)[0].parts is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "expected a table with the column 'what' at .*labels.csv; it is not there"),
        ("file,mask\na.JPG,b/one.png\n", "has no column 'what'; concept= names one of file, mask"),
        ("file,mask,what\na.JPG,b/one.png,\n", "expected 'what' and `mask` in every row .*; a.JPG lacks one of them"),
        ("file,mask,what\na.JPG,,cat\n", "expected 'what' and `mask` in every row .*; a.JPG lacks one of them"),
    ],
)
def test_names_of_what_masks_show_that_are_lacking(folder, text, words):
    if text:
        table(folder / "labels.csv", text)
    with pytest.raises(DatasetError, match=words):
        Folder(str(folder), concept="what").load(SMALL)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,label\na.JPG,1\n", "has the columns 'image', 'label'; expected `file`"),
        ("file;label\na.JPG;1\n", "has the columns 'file;label'; expected `file` .*separated by commas"),
        ("", "has the columns of an empty file"),
        ("file,label\n", "found nothing in .*expected at least a row in .*labels.csv"),
        ("file,label\na.JPG,zebra\n", "line 2: the label is 'zebra', expected the index of the class"),
        ("file,label\na.JPG,-1\n", "line 2: the label is '-1'"),
        ("file,label\na.JPG,1\nc.png,1\n", "line 3: there is no file 'c.png' in"),
        ("file,mask\na.JPG,m.png\n", "line 2: there is no file 'm.png' in"),
        ("file,label\n,1\n", "line 2: the cell `file` is empty"),
        ("file,label\na.JPG,1\na.JPG,2\n", "1 samples occur twice, the first is 'a.JPG'"),
    ],
)
def test_bad_tables(folder, text, words):
    table(folder / "labels.csv", text)
    with pytest.raises(DatasetError, match=words):
        Folder(str(folder)).load(SMALL)


def test_a_table_in_another_encoding(folder):
    (folder / "labels.csv").write_bytes("file,label\nü.png,1\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"cannot be read as a table.*expected CSV in UTF-8"):
        Folder(str(folder)).load(SMALL)


def test_missing_and_empty_folders(tmp_path):
    (tmp_path / "notes.txt").touch()
    for dataset, words in (
        (Folder(str(tmp_path)), r"found nothing in .*expected at least a picture \(.jpg, .jpeg, .png"),
        (Folder(str(tmp_path / "none")), "expected a folder of pictures, but .*none is not there"),
        (Folder(str(tmp_path / "notes.txt")), "notes.txt is a file"),
        (Folder(str(tmp_path), labels=str(tmp_path / "no.csv")), "expected a table of labels at .*no.csv"),
    ):
        with pytest.raises(DatasetError, match=words):
            dataset.load(SMALL)


def test_samples_are_read_when_asked_for_and_slices_stay_lazy(folder):
    samples = Folder(str(folder)).load(SMALL)
    (folder / "a.JPG").unlink()
    part = samples[1::2]
    assert part.ids == ("b/one.png",)
    assert torch.equal(part[0].input, samples[-2].input)
    assert torch.equal(pickle.loads(pickle.dumps(part))[0].input, part[0].input)
    with pytest.raises(DatasetError, match=r"a\.JPG: there is no such file"):
        samples[0]
    with pytest.raises(IndexError):
        samples[3]


@needs_data
def test_the_coco_objects():
    samples = Folder(f"{DATA}/objects").load(Preprocess(256, 224))
    assert len(samples) == 35
    assert all(sample.target is None for sample in samples)
    area = float(torch.stack([drawn(sample).float().mean() for sample in samples]).mean())
    assert area == pytest.approx(0.39, abs=0.01)


@needs_data
def test_the_imagenet_photos():
    samples = Folder(f"{DATA}/imagenet_photos").load(Preprocess(256, 224))
    assert len(samples) == 50
    assert samples[0].id == "n01440764_tench.JPEG"
    assert samples[0].target == 0
    assert len({entry.target for entry in samples.entries}) == 50


# -- photos ----------------------------------------------------------------------------------------------------------


def test_photos_without_resizing_show_their_boxes():
    """Area of the mask: the box, cut to the middle of the picture, by hand."""
    coffee = Photos().load(Preprocess(400, 400))[3]  # 600 x 400: columns 100 to 500 are left
    assert coffee.id == "coffee"
    assert coffee.target == 967
    expected = torch.zeros(400, 400, dtype=torch.bool)
    expected[17:309, 72:310] = True
    assert torch.equal(drawn(coffee), expected)


def test_boxes_lie_in_their_photos_and_leave_background():
    for photo, sample in zip(PHOTOS, Photos().load(Preprocess(256, 224)), strict=True):
        assert sample.sources == (sample.id,) == (photo.id,)
        assert (sample.mask is None) == (not photo.boxes)
        width, height = open_image(photos_module._path(photo)).size
        for left, top, right, bottom in photo.boxes:
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
        if sample.mask is not None:
            assert 0.05 < float(sample.mask.float().mean()) < 0.65


def test_photos_without_their_package(monkeypatch):
    monkeypatch.setattr(photos_module, "find_spec", lambda name: None)
    with pytest.raises(
        DatasetError, match="scikit-image, which is not installed: pip install scikit-image scikit-learn"
    ):
        Photos().load(SMALL)


def test_photos_from_a_package_without_its_pictures(monkeypatch, tmp_path):
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(photos_module, "find_spec", lambda name: spec)
    with pytest.raises(DatasetError, match=r"expected the file .*camera.png, which this scikit-image came without"):
        Photos().load(SMALL)


# -- mosaic ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Colors(Dataset):
    """One-colored pictures of value 0.01 x index, as a plain list, which a user's dataset may give."""

    targets: tuple[int | None, ...]
    name: str = "colors"

    def load(self, preprocess: Preprocess) -> Sequence[Sample]:
        side = preprocess.crop
        return [
            Sample(str(i), torch.full((3, side, side), i / 100), target, None, (str(i),))
            for i, target in enumerate(self.targets)
        ]


@pytest.mark.parametrize(
    ("grid", "crop", "tile", "side"), [(2, 8, None, 8), (3, 8, None, 8), (2, 8, 8, 16), (3, 20, 5, 15)]
)
def test_the_mask_of_a_mosaic_holds_the_photo_of_its_target(grid, crop, tile, side):
    targets = (4, 4, 7, None, 9, 2, 1, 0, 3, 5, 6, 8)
    samples = Mosaic(Colors(targets), grid=grid, count=5, tile=tile).load(Preprocess(crop + 2, crop))
    assert len(samples) == 5 * grid**2
    for start in range(0, len(samples), grid**2):
        mosaic = samples[start : start + grid**2]
        assert len({sample.target for sample in mosaic}) == grid**2
        masks = torch.stack([drawn(sample) for sample in mosaic])
        assert masks.shape[1:] == (side, side)
        assert (masks.sum(0) == 1).all()  # the cells are a partition
        for cell, sample in enumerate(mosaic):
            assert torch.equal(sample.input, mosaic[0].input)
            assert sample.sources == mosaic[0].sources
            photo = int(sample.sources[cell])
            assert (sample.input[:, sample.mask] == torch.tensor(photo / 100)).all()
            assert sample.target == targets[photo]


def test_cells_are_the_patches_of_the_engine():
    """Pixel y lies in row y * grid // side."""
    samples = Mosaic(Colors(tuple(range(9))), grid=3, count=1).load(Preprocess(11, 11))
    owner = torch.arange(11) * 3 // 11
    for cell, sample in enumerate(samples):
        assert torch.equal(drawn(sample), (owner == cell // 3)[:, None] & (owner == cell % 3))


def test_mosaics_depend_on_the_seed_alone():
    def ids(**options):
        return Mosaic(Colors(tuple(range(10))), **options).load(SMALL).ids

    assert ids(count=8, seed=1) == ids(count=8, seed=1)
    assert ids(count=8, seed=1)[:12] == ids(count=3, seed=1)
    assert ids(count=8, seed=1) != ids(count=8, seed=2)


def test_photos_are_drawn_evenly():
    cells = Mosaic(Colors((0, 1, 2, 3, 3)), count=48).load(SMALL).entries  # all there are
    times = [sum(str(i) in cell.id.split("/")[0].split("+") for cell in cells) // 4 for i in range(5)]
    assert times == [48, 48, 48, 24, 24]


@pytest.mark.parametrize(
    ("dataset", "options", "words"),
    [
        (
            Colors((0, 0, 1, None, 2)),
            {},
            r"Mosaic\(grid=2\) needs photos of 4 different classes, but colors has labels of 3",
        ),
        (Colors((0, 1, 2, 3)), {"count": 25}, "can lay 24 different mosaics from colors, expected count=25"),
    ],
)
def test_too_few_photos_for_mosaics(dataset, options, words):
    with pytest.raises(DatasetError, match=words):
        Mosaic(dataset, **options).load(SMALL)


@pytest.mark.parametrize("options", [{"grid": 1}, {"count": 0}, {"tile": -1}])
def test_bad_options_of_mosaics(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} to be at least"):
        Mosaic(Photos(), **options)


def test_mosaics_of_photos_pickle_and_shrink_the_photos():
    samples = Mosaic(Photos(), count=2).load(Preprocess(256, 224))
    sample = pickle.loads(pickle.dumps(samples[:3]))[2]
    tile = {photo.id: photo for photo in Photos().load(Preprocess(128, 112))}[sample.sources[2]]
    assert torch.equal(sample.input[:, 112:, :112], tile.input)
    assert sample.target == tile.target
    assert Mosaic(Photos()).name == "mosaic_photos"


# -- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["folder", "mosaic", "photos"])
def test_the_yaml_is_the_class_with_its_defaults(stem):
    config = OmegaConf.load(CONF / "dataset" / f"{stem}.yaml")
    assert list(config) == [stem]
    root = OmegaConf.create({"seed": 0, "dataset": config})
    if stem == "folder":
        root.dataset.folder.path = "x"
    made = instantiate(root.dataset[stem], _convert_="all")
    assert made == {"folder": Folder("x"), "mosaic": Mosaic(Photos()), "photos": Photos()}[stem]
