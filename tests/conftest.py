"""What all tests share."""

import os

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers are the parallelism
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` are skipped where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
