"""Content keys: known digests, what changes them, and what has none."""

import functools
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import xaieval
from xaieval import keys
from xaieval.keys import key_of, source_hash, state_hash, versions


def test_a_key_is_the_hash_of_canonical_json():
    text = f'{{"a":{{"x":[1,2.5],"y":"z"}},"engine":{keys.ENGINE},"torch":"{torch.__version__}"}}'
    assert key_of(a={"y": "z", "x": (1, 2.5)}) == hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def test_what_changes_a_key(monkeypatch):
    key = key_of(device="cpu", precision="float32")
    assert key_of(precision="float32", device="cpu") == key
    assert key_of(precision="float32", device="cuda") != key
    monkeypatch.setattr(keys, "ENGINE", keys.ENGINE + 1)
    assert key_of(device="cpu", precision="float32") != key


def test_what_has_no_key():
    with pytest.raises(ValueError, match="key_of got source=None"):
        key_of(source=source_hash(lambda model, inputs, target: inputs))
    with pytest.raises(TypeError, match="hash anything else first"):
        key_of(weights=torch.zeros(1))


def test_versions():
    expected = {"python": sys.version.split()[0], "torch": str(torch.__version__), "xaieval": xaieval.__version__}
    assert json.loads(versions()) == expected


def load(path, text):
    path.write_text(textwrap.dedent(text))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[path.stem] = module
    return module


@pytest.fixture
def written(tmp_path):
    """Two modules: a base class with a function, and a component that takes another and inherits the base."""
    base = load(tmp_path / "store_base.py", "class Base: pass\ndef function(model, inputs, target): return inputs\n")
    mine = load(
        tmp_path / "store_mine.py",
        """
        from dataclasses import dataclass
        from typing import Any
        from store_base import Base
        @dataclass(frozen=True)
        class Mine(Base):
            inner: Any = None
        """,
    )
    yield base, mine
    for name in ("store_base", "store_mine"):
        del sys.modules[name]


def files(*paths):
    digest = hashlib.blake2b(digest_size=20)
    for path in paths:
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    return digest.hexdigest()


def test_source_hash_is_that_of_the_files(tmp_path, written):
    base, mine = written
    first, second = tmp_path / "store_base.py", tmp_path / "store_mine.py"
    assert source_hash(base.function) == files(first)
    assert source_hash(base.Base) == files(first)
    assert source_hash(mine.Mine) == source_hash(mine.Mine()) == source_hash(mine.Mine(inner=3)) == files(second, first)
    assert source_hash(mine.Mine(inner=base.function)) == files(second, first, first)
    assert source_hash(mine.Mine(inner=(mine.Mine(), 1))) == files(second, first, second, first)
    assert source_hash(functools.partial(base.function, target=3)) == files(first)
    assert source_hash(mine.Mine().__init__) == source_hash(mine.Mine())
    before = source_hash(mine.Mine)
    first.write_text(first.read_text() + "# edited\n")
    assert source_hash(mine.Mine) == files(second, first) != before


@dataclass(frozen=True)
class Holder:
    inner: object


def module_function(model, inputs, target):
    return inputs


def test_what_has_no_source(monkeypatch):
    def inner(model, inputs, target):
        return inputs

    class Stateful:
        pass

    nothing = [
        lambda x: x,
        inner,
        Stateful,
        object(),
        len,
        torch.relu,
        nn.Linear(1, 1),
        Holder(inner),
        functools.partial(inner),
    ]
    assert [source_hash(thing) for thing in nothing] == [None] * len(nothing)
    monkeypatch.setattr(module_function, "__module__", "__main__")
    assert source_hash(module_function) is None
    assert source_hash(Holder(3)) == files(Path(__file__))


class Net(nn.Module):
    def __init__(self, action=torch.relu):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.action = action

    def extra_repr(self):
        return repr(self.action)


def test_state_hash_follows_the_definition():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0]]))
        net.bias.zero_()
    digest = hashlib.blake2b(digest_size=20)
    digest.update(b"torch.nn.modules.linear.Linear\nLinear(in_features=2, out_features=1, bias=True)")
    digest.update(b"\nweight torch.float32 (1, 2)\n" + np.array([1, 2], np.float32).tobytes())
    digest.update(b"\nbias torch.float32 (1,)\n" + np.array([0], np.float32).tobytes())
    assert state_hash(net) == digest.hexdigest()


def test_what_changes_a_state_hash():
    torch_state = torch.random.get_rng_state()
    net = Net()
    torch.random.set_rng_state(torch_state)
    key = state_hash(net)
    assert state_hash(net.to(memory_format=torch.channels_last)) == key
    assert state_hash(net.eval()) == key
    twin = Net(action=lambda x: x)
    twin.load_state_dict(net.state_dict())
    assert state_hash(twin) != key
    assert state_hash(nn.Sequential(net)) != key
    assert len({key, state_hash(net.bfloat16()), state_hash(net.half())}) == 3
    with torch.no_grad():
        net.float().state_dict()["norm.running_mean"][0] = 1.0
    assert state_hash(net) != key


def test_hashes_are_those_of_another_process(tmp_path):
    (tmp_path / "net_module.py").write_text(
        textwrap.dedent("""
        import torch
        from torch import nn
        from xaieval.keys import source_hash, state_hash
        def act(x): return x
        class Net(nn.Sequential):
            def extra_repr(self): return repr(act)
        def hashes():
            net = Net(nn.Linear(2, 2), nn.BatchNorm1d(2))
            with torch.no_grad():
                [p.fill_(0.5) for p in net.parameters()]
            return state_hash(net), source_hash(Net)
        """)
    )
    script = "import net_module; print(*net_module.hashes())"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], env={**environment, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 2
