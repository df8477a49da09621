"""The wheel holds what the repository holds, the folders at the root are xaieval's, every component has its YAML."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest
from omegaconf import OmegaConf

import xaieval

ROOT = Path(__file__).resolve().parents[1]
MAPPED = ("attributions", "conf", "metrics")
PAGE = ("report/*.html", "report/*.css", "report/*.js")
COMPONENTS = {"method": "attributions", "metric": "metrics"}


def run(*command, cwd, **environment):
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )


def build(hook, tree, out):
    """Path of what a setuptools build hook makes of a source tree, not isolated: `build_wheel` or `build_sdist`."""
    out.mkdir()
    code = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
    done = run(sys.executable, "-c", code, str(out), cwd=tree)
    assert done.returncode == 0, done.stderr
    (made,) = out.iterdir()
    return made


def files(wheel):
    """Names in a wheel, without its metadata."""
    return {name for name in ZipFile(wheel).namelist() if not re.match(r"[^/]*\.dist-info/", name)}


def expected_files():
    """Names that a wheel of this repository has to hold; `rglob` does not follow the links in xaieval/."""
    trees = {"xaieval": "xaieval"} | {name: f"xaieval/{name}" for name in MAPPED}
    kinds = {
        "xaieval": ("*.py", "py.typed", "datasets/**/*.csv", "datasets/**/*.json", *PAGE),
        "conf": ("*.py", "*.yaml"),
    }
    return {
        f"{target}/{path.relative_to(ROOT / tree).as_posix()}"
        for tree, target in trees.items()
        for kind in kinds.get(tree, ("*.py",))
        for path in (ROOT / tree).rglob(kind)
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy to build in: building in place leaves build/ behind, and a stale file there gets into the next wheel."""
    copy = tmp_path_factory.mktemp("tree") / "xaieval"
    for name in ("xaieval", *MAPPED):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    return build("build_wheel", tree, tmp_path_factory.mktemp("wheel") / "out")


def test_wheel_holds_the_repository_and_nothing_else(wheel):
    assert files(wheel) == expected_files()


def test_wheel_through_the_sdist_is_the_same(tree, wheel, tmp_path):
    with tarfile.open(build("build_sdist", tree, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert files(build("build_wheel", source, tmp_path / "wheel")) == files(wheel)


def test_wheel_imports_by_the_full_names(wheel, tmp_path):
    ZipFile(wheel).extractall(tmp_path / "site")
    code = "import xaieval.attributions, xaieval.metrics, xaieval.conf as conf; print(conf.__file__)"
    done = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert done.stdout.strip() == str(tmp_path / "site" / "xaieval" / "conf" / "__init__.py"), done.stderr


def test_installed_package_imports_by_the_full_names(tmp_path):
    done = run(sys.executable, "-c", "import xaieval.attributions, xaieval.metrics, xaieval.conf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["attributions", "metrics"])
def test_bare_import_of_a_folder_says_what_to_write(name):
    done = run(sys.executable, "-c", f"import {name}", cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"ImportError: '{name}' is a folder of xaieval's source; write `import xaieval.{name}` instead.\n"
    )


@pytest.mark.parametrize("name", MAPPED)
def test_link_is_relative_and_leads_to_the_folder(name):
    link = ROOT / "xaieval" / name
    assert link.readlink() == Path("..") / name
    assert link.resolve() == ROOT / name


def test_version_is_that_of_the_installed_package():
    assert xaieval.__version__ == version("xaieval")


@pytest.mark.parametrize(("group", "tree"), COMPONENTS.items())
def test_every_file_has_its_yaml(group, tree):
    modules = {path.stem for path in (ROOT / tree).glob("*.py")} - {"__init__"}
    assert modules <= {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}  # the others are presets
    assert not [path for path in (ROOT / tree).iterdir() if path.is_dir() and path.name != "__pycache__"]


@pytest.mark.parametrize(
    ("path", "tree"),
    [
        pytest.param(path, tree, id=f"{group}-{path.stem}")
        for group, tree in COMPONENTS.items()
        for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
    ],
)
def test_yaml_holds_one_key_and_points_at_its_file(path, tree):
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(config, dict)
    assert list(config) == [path.stem]
    module, _, name = config[path.stem]["_target_"].rpartition(".")
    package, _, stem = module.rpartition(".")
    assert package == f"xaieval.{tree}"
    assert stem == path.stem or not (ROOT / tree / f"{path.stem}.py").exists()  # a preset of another file's class
    assert name.lower() == stem.replace("_", "")


@pytest.mark.parametrize(
    ("stubs", "sentence"),
    [
        ({}, "git is missing: install it, on Debian with `apt install git`."),
        ({"git": ""}, "python3 is missing: install Python 3.11 or newer, or name yours with `make PYTHON=...`."),
        (
            {"git": "", "python3": 'case "$1" in -V) echo Python 3.9.2;; *) exit 1;; esac'},
            "python3 is Python 3.9.2: xaieval needs Python 3.11 or newer, name one with `make PYTHON=python3.11`.",
        ),
        (
            {"git": "", "python3": 'case "$2" in *ensurepip*) exit 1;; esac'},
            "python3 cannot make virtual environments: install venv, on Debian with `apt install python3-venv`.",
        ),
    ],
    ids=["git", "python", "old-python", "venv"],
)
def test_missing_prerequisite_gets_one_sentence(stubs, sentence, tmp_path):
    for name, script in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    make = shutil.which("make")
    assert make, "make is missing"
    done = run(make, "prerequisites", cwd=ROOT, PATH=str(tmp_path), MAKEFLAGS="")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == sentence
