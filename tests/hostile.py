"""A project whose names, labels, texts and errors try to run a script in whatever page shows them."""

import json
from pathlib import Path

from PIL import Image
from projects import make_project

SCRIPT = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'><b>"
FILE = "<img src=x onerror=window.hacked=1>.png"
"""As much of it as a file may be called."""

MODULE = f"""
from dataclasses import dataclass

from toy import Mine, Net
from xaieval.classifier import Classifier
from xaieval.datasets.preprocess import Preprocess
from xaieval.models.loading import seeded

SCRIPT = {SCRIPT!r}


@dataclass(frozen=True)
class Failing(Mine):
    \"\"\"Raises (arXiv:1312.6034).\"\"\"

    def attribute(self, explicand):
        raise ArithmeticError(SCRIPT)


def load(**options):
    with seeded():
        module = Net()
    return Classifier(module, name=f"net {{SCRIPT}}", categories=[f"class {{n}} {{SCRIPT}}" for n in range(5)],
                      preprocess=Preprocess(16, 16), batch_size=8)
"""

PICTURES = (
    "model=callable",
    "model.callable._target_=hostile_module.load",
    "model.callable.function=none",
    "dataset=folder",
    "dataset.folder.path=pictures",
    f"dataset.folder.name='{SCRIPT.partition(chr(34))[0]}'",
    "method=[gradient,occlusion,random]",
    "method.occlusion.window=4",
    "method.occlusion.stride=4",
    "+method.failing._target_=hostile_module.Failing",
    "metric=[deletion,insertion,sparseness]",
)
TEXTS = (
    "model=planted_text",
    "dataset=jsonl",
    "dataset.jsonl.path=texts.jsonl",
    "method=[leave_one_out,gradient_l2]",
    "metric=[deletion,insertion]",
)


def make_hostile(folder: Path) -> Path:
    """The folder with `hostile_module.py`, `pictures/` and `texts.jsonl`."""
    make_project(folder, 5)
    (folder / "hostile_module.py").write_text(MODULE)
    with Image.open(folder / "pictures" / "p0.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "pictures" / FILE)
    with (folder / "pictures" / "labels.csv").open("a") as file:
        file.write(f"{FILE},3,\n")
    texts = [{"text": f"a good film {SCRIPT} not bad", "label": 1}, {"text": "a bad film & more", "label": 0}]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, texts)))
    return folder
