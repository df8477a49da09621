"""The README's own method: what a newcomer types has to work as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def folder(tmp_path):
    """A folder with the module that the README shows."""
    section = README.read_text().split("<!-- own method: begin -->")[1].split("<!-- own method: end -->")[0]
    (source,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "my_module.py").write_text(source)
    return tmp_path


def test_own_method_keeps_the_laws(folder):
    assert re.search(r"^(\d+) of \1 laws hold", typed(folder, "check", "my_module:BoxGrad"), re.MULTILINE)


def test_own_method_stands_among_the_others(folder):
    words = [
        "method=[gradient,random]",
        "metric=[sparseness,insertion]",
        "dataset=planted",
        "model=planted",
        "dataset.limit=4",
    ]
    typed(folder, *words)
    shown = typed(folder, "compare", "my_module:BoxGrad", *words)
    assert re.search(r"^(\d+) of \1 laws hold", shown, re.MULTILINE), shown
    assert "box_grad" in shown
    assert re.search(r"^gradient +", shown, re.MULTILINE), shown


def typed(folder, *words):
    """What the command prints; it has to succeed."""
    done = subprocess.run([sys.executable, "-m", "xaieval.app", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
