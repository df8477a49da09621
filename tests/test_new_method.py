"""docs/new_method.md: its method and its commands work as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "new_method.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the module of the page."""
    folder = tmp_path_factory.mktemp("evening")
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (folder / "my_module.py").write_text(source)
    return folder


def commands(section):
    """The commands of a section, without comments."""
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE.split(f"## {section}\n")[1], re.DOTALL)[:1]
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


def typed(folder, line, *more):
    """What a shell prints for a command of the page; it has to succeed."""
    assert line.startswith("xaieval ")
    call = f"{sys.executable} -m xaieval.app {line.removeprefix('xaieval ')} {' '.join(more)}"
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, shell=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_ten_lines():
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len([line for line in source.splitlines() if line]) == 10


def test_it_is_compared_where_the_truth_is_known_and_taken_along(folder):
    fill, compare = commands("Try it where the truth is known")
    typed(folder, fill, "dataset.limit=4")
    shown = typed(folder, compare, "dataset.limit=4")
    assert re.search(r"^(\d+) of \1 laws hold", shown, re.MULTILINE)
    assert re.search(r"^> dimmed_gradient +\d", shown, re.MULTILINE), shown
    assert "dimmed_gradient against the best 3" in shown
    assert "lacks" not in shown
    for line in commands("Take it along"):
        typed(folder, line)
    assert "dimmed\\_gradient &" in (folder / "table.tex").read_text()
    assert (folder / "rows.parquet").is_file()
