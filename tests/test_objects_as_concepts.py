"""Real photographs whose objects are the concepts: the masks that people drew, found by the location metrics."""

import csv
import json
import os
from pathlib import Path

import pytest
import torch

from xaieval import Classifier, evaluate
from xaieval.attributions.coam import CoAM
from xaieval.attributions.constant import Constant
from xaieval.attributions.ground_truth import GroundTruth
from xaieval.concept_model import Bottleneck
from xaieval.datasets.folder import Folder
from xaieval.datasets.parts_folder import PartsFolder
from xaieval.datasets.preprocess import Preprocess
from xaieval.metrics.concept_location import ConceptLocation
from xaieval.metrics.relevance_mass import RelevanceMass
from xaieval.metrics.relevance_rank import RelevanceRank

DATA = os.environ.get("XAIEVAL_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="XAIEVAL_TEST_DATA is unset")
PREPROCESS = Preprocess(72, 64)


def rows():
    with (Path(f"{DATA}") / "objects" / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """The photographs as a folder with `parts.json`, each class of objects a part and a concept."""
    folder = tmp_path_factory.mktemp("objects")
    names = sorted({row["object"] for row in rows()})
    images = []
    for row in rows():
        for file in (row["file"], row["mask"]):
            (folder / file).symlink_to(Path(f"{DATA}").resolve() / "objects" / file)
        told = {"parts": {row["object"]: {"mask": row["mask"]}}, "concepts": [row["object"]]}
        images.append({"file": row["file"], "label": row["object"], **told})
    content = {"parts": names, "concepts": {name: name for name in names}, "classes": names, "images": images}
    (folder / "parts.json").write_text(json.dumps(content))
    return folder


def test_a_column_of_the_table_tells_the_same_as_the_layout(layout):
    """Masks of COCO with holes and many instances: what is told of them agrees, and the mask is the part's."""
    samples = PartsFolder(str(layout)).load(PREPROCESS)
    others = Folder(f"{DATA}/objects", concept="object").load(PREPROCESS)
    assert len(samples) == len(others) == 35
    for sample, other in zip(samples[::4], others[::4], strict=True):
        assert sample.parts is not None
        assert other.parts is not None
        assert sample.parts.scheme == other.parts.scheme
        assert len(sample.parts.scheme.parts) == 23
        for name in ("masks", "centers", "visible", "concepts"):
            assert torch.equal(getattr(sample.parts, name).nan_to_num(-1), getattr(other.parts, name).nan_to_num(-1))
        part = int(sample.parts.concepts.nonzero())
        assert sample.parts.masks is not None
        assert sample.mask is not None
        assert torch.equal(sample.parts.masks[part], sample.mask)
        row, column = sample.parts.centers[part].round().long().tolist()
        assert bool(sample.parts.masks[part, row, column])


def test_location_metrics_run_on_photographs(layout):
    """Of a network with concepts: a map that is the mask has the best score, one that knows nothing that of chance."""
    samples = list(PartsFolder(str(layout)).load(PREPROCESS)[::4])
    assert samples[0].parts is not None
    scheme = samples[0].parts.scheme
    torch.manual_seed(0)
    margins, head = torch.nn.Linear(4, len(scheme.concepts)), torch.nn.Linear(len(scheme.concepts), 23)
    module = Bottleneck(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, stride=8)), "0", margins, head, scheme)
    places = {
        "rank": ConceptLocation(RelevanceRank(), first=0, place="mask"),
        "mass": ConceptLocation(RelevanceMass(), first=0, place="mask"),
        "center": ConceptLocation(first=0),
    }
    methods = {"mask": GroundTruth(), "constant": Constant(), "coam": CoAM()}
    metrics = {**places, "objects": RelevanceRank()}
    frame = evaluate(Classifier(module), samples, methods=methods, metrics=metrics, progress=False)
    assert frame["error"].isna().all()
    assert frame["score"].notna()[frame["method"] != "coam"].all()  # a map below 0 throughout has no mass
    scores = frame.groupby(["method", "metric"])["score"].agg(["min", "max"])
    assert scores.loc["mask"].loc[["rank", "mass", "objects"]].to_numpy() == pytest.approx(1)
    assert scores.loc["constant"].loc[["rank", "mass", "center", "objects"]].to_numpy() == pytest.approx(0, abs=1e-6)
    assert (scores.loc["coam"]["max"] <= 1).all()
    assert (scores.loc["coam"]["min"] < 1).all()
