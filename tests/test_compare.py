"""`xaieval compare`: the laws on a new method, and where it stands among those of a real store."""

import os
import pickle
import re
import shutil
import subprocess
import sys

import pytest

from xaieval import app
from xaieval.adapters import CaptumMethod, FunctionMethod
from xaieval.attributions.sobol import Sobol
from xaieval.compare import _newcomer
from xaieval.report import data
from xaieval.store import Store

MODULE = '''
"""A user's own methods."""

from dataclasses import dataclass

import torch
from xaieval.component import Method


@dataclass(frozen=True)
class BoxGrad(Method):
    """The mean gradient in a box around the input (arXiv:1901.09392)."""

    units = "gradient"
    reference = "arXiv:1901.09392"
    samples: int = 3
    radius: float = 0.1
    seed: int = 0

    def attribute(self, explicand):
        total = torch.zeros_like(explicand.inputs)
        for batch in explicand.batches(self.samples):
            noise = self.radius * (2 * batch.uniform("box", self.seed) - 1)
            batch.add(total, batch.gradients(batch.inputs + noise))
        return total / self.samples


class Sobol(BoxGrad):
    """Another one of a name that is taken (arXiv:1901.09392)."""


def saliency(model, inputs, target, scale=1.0):
    inputs.requires_grad_()
    return scale * torch.autograd.grad(model(inputs).gather(1, target[:, None]).sum(), inputs)[0].abs()


def careless(model, inputs, target):
    """Looks at the other samples of its batch."""
    return saliency(model, inputs, target) + inputs.detach().mean()


def failing(model, inputs, target):
    raise ArithmeticError("no such map")
'''

WORDS = ("dataset=planted", "model=planted", "dataset.limit=6", "metric=[insertion,deletion,relevance_rank]")
METHODS = ("gradient", "occlusion", "random")
BOUND = "+method.bound._target_=xaieval.attributions.ground_truth.GroundTruth"
SCORES = 3


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with the module, and a store with three methods and an oracle of another name on six planted images."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "my_module.py").write_text(MODULE)
    done = typed(folder, *WORDS, f"method=[{','.join(METHODS)}]", BOUND)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "project")


def typed(folder, *words):
    """What a shell would get."""
    call = [sys.executable, "-m", "xaieval.app", *words]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture
def said(folder, monkeypatch):
    """What the command says is wrong."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.delitem(sys.modules, "my_module", raising=False)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["xaieval", "compare", *words])
        with pytest.raises(SystemExit) as stop:
            app.main()
        assert isinstance(stop.value.code, str)
        return stop.value.code

    yield run
    sys.modules.pop("my_module", None)


def counts(folder):
    return Store(folder / "runs" / "store").rows()["method"].value_counts().to_dict()


def test_only_its_own_cells_are_computed_and_it_stands_among_all_of_the_store(folder):
    before = counts(folder)
    own = ("method=[gradient,sobol,part_effects]", BOUND, "method.box_grad.radius=0.05")
    done = typed(folder, "compare", "my_module:BoxGrad", *WORDS, *own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^(\d+) of \1 laws hold", done.stdout, re.M)
    assert counts(folder) == before | {"box_grad": 6 * SCORES}
    table = done.stdout.partition("planted, planted: 6 samples - too few to rank")[2].partition("\n\nPlace")[0]
    names = [line.split("  ")[0] for line in table.splitlines()[5:]]
    assert sorted(names) == ["> box_grad", "gradient", "occlusion"]  # the run does not name occlusion
    assert "faithfulness" in table
    rows = Store(folder / "runs" / "store").rows()
    assert '"radius": 0.05' in rows.loc[rows["method"] == "box_grad", "method_parameters"].iloc[0]
    scores = rows.pivot_table("score", ["metric", "sample"], "method").loc["insertion"]
    gaps = scores["box_grad"] - scores["occlusion"]
    won = f"{(gaps > 0).sum()}-{(gaps < 0).sum()}"
    (told,) = re.findall(r"^insertion .*", done.stdout.partition("box_grad against the best")[2], re.M)[:1]
    assert re.search(rf" {won}(-\d)?  [+-]?[.]", told), (won, told)
    best, told = re.findall(r"^Where box_grad differs most from (\w+)\n(.*?)\nThe sample", done.stdout, re.M | re.S)[0]
    gaps = scores["box_grad"] - scores[best]
    row = next(line for line in told.splitlines() if line.startswith("insertion"))
    assert [gaps.idxmax() in row, gaps.idxmin() in row] == [gaps.max() > 0, gaps.min() < 0]
    assert f"lacks {6 * SCORES} cells of other methods of this run" in done.stdout
    words = f"{' '.join(WORDS[:3])} '{WORDS[3]}' '{own[0]}' {BOUND}"
    assert f"(sobol {6 * SCORES}): `xaieval {words}`" in done.stdout  # part_effects is an oracle


def test_what_it_was_before_has_no_part(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    first = typed(folder, "compare", "my_module:BoxGrad", *WORDS)
    second = typed(folder, "compare", "my_module:BoxGrad", *WORDS, "method.box_grad.samples=2")
    assert (first.returncode, second.returncode) == (0, 0)
    report = data.page_of([folder / "runs" / "store"], folder / "report.html")
    shown = report.shelves[0].album.samples
    assert all(any(name.startswith("box_grad samples=2") for name in sample["maps"]) for sample in shown)
    assert any(run[0].startswith("xaieval compare my_module:BoxGrad") for run in report.origins[0].runs)
    assert len(re.findall(r"^> box_grad", second.stdout, re.M)) == 1
    assert "box_grad samples" not in second.stdout
    assert "bound" not in second.stdout  # an oracle, which this run does not name
    assert counts(folder)["box_grad"] == 2 * 6 * SCORES


def test_others_count_as_their_code_is_now(folder):
    filled = typed(folder, *WORDS, "+method.other._target_=my_module.saliency")
    assert filled.returncode == 0, filled.stderr
    there = typed(folder, "compare", "gradient", *WORDS)
    assert re.search(r"^other  ", there.stdout, re.M)
    assert "Left out" not in there.stdout
    module = folder / "my_module.py"
    module.write_text(module.read_text().replace(".abs()", ".abs() ** 2"))
    gone = typed(folder, "compare", "gradient", *WORDS)
    assert not re.search(r"^other  ", gone.stdout, re.M)
    assert "Left out, though the store has scores of them: other. Their code" in gone.stdout


def test_a_method_that_breaks_a_law_is_compared_and_ends_the_command_badly(folder):
    done = typed(folder, "compare", "my_module:careless", *WORDS)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout
    assert "> careless" in done.stdout
    assert done.stderr.endswith("xaieval: careless breaks laws, see above\n")


def test_a_method_that_fails_ends_the_command_badly(folder):
    done = typed(folder, "compare", "my_module:failing", *WORDS)
    assert done.returncode == 1
    assert f"failing, {6 * SCORES} cells: ArithmeticError: no such map" in done.stdout
    assert "> failing" in done.stdout
    assert "Traceback" not in done.stderr


def test_functions_classes_and_those_of_captum_are_methods(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    function = _newcomer(["my_module:saliency", *WORDS])
    assert isinstance(function.methods["saliency"], FunctionMethod)
    assert function.words == WORDS
    twice, thrice = (_newcomer(["my_module:saliency", *WORDS, f"method.saliency.scale={scale}"]) for scale in (2, 3))
    assert pickle.loads(pickle.dumps(twice.methods)) == twice.methods != thrice.methods
    captum = _newcomer(["captum.attr:ShapleyValueSampling", *WORDS, "method.shapley_value_sampling.n_samples=2"])
    assert isinstance(captum.methods["shapley_value_sampling"], CaptumMethod)
    assert dict(captum.methods["shapley_value_sampling"].options) == {"n_samples": 2}
    known = _newcomer(["sobol", *WORDS, "seed=3"])
    assert known.methods["sobol"] == Sobol(seed=3)
    mine = _newcomer(["mine", *WORDS, "+method.mine._target_=my_module.BoxGrad", "+method.mine.samples=2"])
    assert str(mine.methods["mine"]) == "BoxGrad(samples=2, radius=0.1, seed=0)"
    assert mine.words == WORDS
    sys.modules.pop("my_module", None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nix:Nix"], "nix:Nix: there is no module 'nix'"),
        (["my_module:BoxGrat"], "my_module:BoxGrat: my_module has no 'BoxGrat'; did you mean BoxGrad?"),
        (["my_module:Sobol"], "my_module:Sobol would be called sobol, as another method is"),
        (["my_module:Sobol"], "`xaieval compare my_sobol +method.my_sobol._target_=my_module.Sobol`"),
        (["sobbol"], "there is no method 'sobbol'; did you mean sobol?"),
        (["my_module:BoxGrad", "method.box_grad.sample=3"], "has no parameter 'sample'; did you mean samples"),
        (["my_module:BoxGrad", "store.path=empty"], "there is nothing to compare with: the store empty has no score"),
        (["my_module:BoxGrad", "store.path=empty"], "`xaieval dataset=planted model=planted dataset.limit=6"),
        (["my_module:BoxGrad", "dataset.planted.name=other"], "by insertion, deletion, relevance_rank on other with"),
        (
            ["my_module:BoxGrad", "metric=sparseness"],
            "of another method by sparseness on planted with planted",
        ),
        (["my_module:BoxGrad", "store.path=null"], "compare takes the other methods from a store"),
        (["xaieval.metrics.insertion:Insertion"], "Insertion is a metric: compare takes a method"),
        ([], "compare takes one method and words of a run"),
        (["my_module:BoxGrad", "sobol"], "compare takes one method and words of a run"),
        (["--all"], "compare takes one method and words of a run"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(said, words, sentence):
    assert sentence in said(*WORDS, *words)
