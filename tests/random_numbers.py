"""Random numbers for tests of statistics, and the state they must leave alone."""

import random

import numpy as np
import torch


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def global_state():
    legacy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return random.getstate(), legacy["key"].tolist(), legacy["pos"], torch.random.get_rng_state().tolist()
