"""Reports of hostile projects, made as a user makes them."""

import sys

import pytest
from hostile import PICTURES, TEXTS, make_hostile

from xaieval import app


def called(*arguments):
    """Runs the command in this process and gives what it ended with, 0 or what was said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["xaieval", *arguments])
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("PYTHONPATH", "")
        patch.setenv("HYDRA_FULL_ERROR", "")
        try:
            app.main()
        except SystemExit as stop:
            return stop.code or 0
        return 0


def made_report(folder):
    """The page of two runs on pictures, which differ in one method, and one run on texts."""
    make_hostile(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            for words in (
                [*PICTURES, "hydra.run.dir=first"],
                [*PICTURES, "method.occlusion.stride=2", "hydra.run.dir=second"],
            ):
                assert "18 of 72 cells failed" in str(called(*words))
            assert called(*TEXTS, "hydra.run.dir=texts") == 0
            assert called("report", "first", "second", "texts", "--output", "report.html") == 0
        finally:
            for name in ("toy", "hostile_module"):
                sys.modules.pop(name, None)
    return folder / "report.html"
