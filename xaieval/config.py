"""From composed configuration to components: what a YAML names is found, checked and built here, and nowhere else."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue

from xaieval.classifier import Classifier
from xaieval.component import Method, Metric
from xaieval.concept_samples import ConceptEncoder
from xaieval.datasets.base import Dataset, Sample
from xaieval.datasets.encode import Encoder
from xaieval.datasets.texts import TextDataset
from xaieval.models.loading import suggest

KINDS: dict[str, type] = {"metric": Metric, "dataset": Dataset, "model": Classifier}
GROUPS = ("method", "metric", "model", "dataset", "removal", "experiment")


class ConfigError(ValueError):
    """What is wrong with a configuration, in a sentence."""


class CheckError(ValueError):
    """A method or metric breaks a law."""


def names(group: str) -> list[str]:
    """What can be chosen in a group: the stems of its YAML files."""
    folder = files("xaieval.conf") / group
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, interpolations resolved.

    Raises:
        ConfigError: A value that has to be given is missing, or an interpolation leads nowhere.
    """
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} has no default: add {error.full_key}=VALUE") from error
    except InterpolationKeyError as error:
        raise ConfigError(f"{error.full_key} refers to a value that does not exist: {error}") from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def components(config: Mapping[str, Any], group: str) -> dict[str, Any]:
    """The components chosen in a group, by name: `{"sobol": Sobol(...)}`.

    Args:
        config: Plain values, see `plain`.
        group: method, metric, model or dataset.

    Raises:
        ConfigError: Nothing is chosen, or a component cannot be built.
    """
    given = {name: node for name, node in (config.get(group) or {}).items() if isinstance(node, Mapping)}
    # An experiment may set options of what a command does not choose, as in `experiment=demo method=sobol`.
    nodes = {name: node for name, node in given.items() if "_target_" in node or name not in names(group)}
    if not nodes:
        raise ConfigError(f"no {group} is chosen: add {group}=NAME, one of {', '.join(names(group))}")
    return {name: component(group, node, f"{group}.{name}") for name, node in nodes.items()}


def component(group: str, node: Any, path: str) -> Any:
    """The component of a group that a node describes.

    Args:
        group: method, metric, model or dataset.
        node: A mapping with `_target_` and parameters.
        path: Where the node stands, for errors.

    Raises:
        ConfigError: It cannot be built, or is nothing of this group.
    """
    if "_target_" not in node:
        raise ConfigError(f"{path} has no _target_: give the class or function, such as {path}._target_=my_module.Mine")
    built = build(node, path, later=group == "method")
    if group == "method":
        return _method(built, path)
    kind = KINDS[group]
    if not isinstance(built, kind):
        raise ConfigError(
            f"{path}: {node['_target_']} gives a {type(built).__name__}, expected a {kind.__module__}.{kind.__name__}"
        )
    return built


def load(dataset: Dataset, classifier: Classifier) -> Sequence[Sample]:
    """The samples of a dataset as a model takes them.

    Raises:
        ConfigError: The model does not say how a picture becomes an input.
        DatasetError: The dataset cannot be read.
    """
    if classifier.preprocess is None:
        raise ConfigError(
            f"the model {classifier.name} does not say how a picture becomes an input, so it cannot read "
            f"{dataset.name}: give Classifier(preprocess=Preprocess(resize, crop))"
        )
    if isinstance(classifier.preprocess, ConceptEncoder):
        return classifier.preprocess.samples(load(dataset, classifier.preprocess.bottleneck))
    if isinstance(classifier.preprocess, Encoder) and not isinstance(dataset, TextDataset):
        raise ConfigError(
            f"{dataset.name} holds images, and the model {classifier.name} takes texts: choose a dataset of texts, "
            "such as dataset=reviews"
        )
    return dataset.load(classifier.preprocess)


def _method(built: Any, path: str) -> Method:
    if isinstance(built, Method):
        return built
    from xaieval.adapters import as_method  # only strangers need it: it imports Captum

    try:
        return as_method(built)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def default(group: str, name: str, **given: Any) -> Any:
    """The component that a YAML of the package describes, with its defaults.

    Args:
        group: method, metric, model or dataset.
        name: Of the YAML.
        given: What it refers to, such as `removal` and `seed`, where that is not the default.

    Raises:
        ConfigError: The group has no such YAML.
    """
    known = names(group)
    if name not in known:
        raise ConfigError(f"there is no {group} {name!r}{suggest(name, known)}; there are {', '.join(known)}")
    root: Any = OmegaConf.load(str(files("xaieval.conf") / "config.yaml"))
    for key in ("defaults", "hydra"):
        del root[key]
    chosen = OmegaConf.load(str(files("xaieval.conf") / group / f"{name}.yaml"))
    values: dict[str, Any] = {"removal": "zero", **given, group: chosen}
    config = OmegaConf.merge(root, values)
    assert isinstance(config, DictConfig)
    return components(plain(config), group)[name]


def build(node: Any, path: str, later: bool = False) -> Any:
    """What a node describes: mappings with `_target_` are called with their parameters, lists become tuples.

    Args:
        node: Plain values.
        path: Where the node stands, for errors.
        later: A function, or a class that is no component, which lacks arguments is not called but waits for them.

    Raises:
        ConfigError: A target that cannot be imported, a parameter that does not exist, or one that is refused.
    """
    if isinstance(node, list | tuple):
        return tuple(build(entry, f"{path}[{index}]") for index, entry in enumerate(node))
    if not isinstance(node, Mapping):
        return node
    values = {name: _field(name, value, path) for name, value in node.items() if not name.startswith("_")}
    if "_target_" not in node:
        return values
    name = str(node["_target_"])
    target = located(name, f"{path}._target_={name}")
    if not (later and _is_foreign(target)):  # a class of Captum has more options than its constructor's
        _check_parameters(target, values, path)
    arguments = build(node.get("_args_", ()), path)
    if node.get("_partial_", later and _waits(target, arguments, values)):
        return Waiting(target, *arguments, **values)
    return _called(target, arguments, values, path)


class Waiting(partial[Any]):
    """A function or class with some of its arguments, equal to another of the same, as its pickled copy is."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, partial):
            return NotImplemented
        return (self.func, self.args, self.keywords) == (other.func, other.args, other.keywords)

    def __hash__(self) -> int:
        return hash((self.func, self.args))


def _field(name: str, value: Any, path: str) -> Any:
    """What a parameter's node describes; a wrapped `method` may be anything that is a method."""
    if name == "method" and isinstance(value, Mapping) and "_target_" in value:
        return component("method", value, f"{path}.{name}")
    return build(value, f"{path}.{name}")


def located(name: str, written: str) -> Any:
    """What `module.Class` names.

    Args:
        name: With points.
        written: How the user wrote it, for errors.

    Raises:
        ConfigError: There is no such thing, or importing its module fails.
    """
    path = name
    rest: list[str] = []
    while path:
        try:
            found = importlib.import_module(path)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not (path == error.name or path.startswith(f"{error.name}.")):
                raise ConfigError(f"{written}: importing {path} failed, there is no module {error.name!r}") from error
        except Exception as error:  # whatever the imported file raises
            raise ConfigError(f"{written}: importing {path} failed with {type(error).__name__}: {error}") from error
        path, _, last = path.rpartition(".")
        rest.insert(0, last)
    if not path:
        raise ConfigError(
            f"{written}: there is no module {name.partition('.')[0]!r}: it has to lie in the working directory, on "
            "PYTHONPATH, or be installed"
        )
    for attribute in rest:
        if not hasattr(found, attribute):
            raise ConfigError(f"{written}: {path} has no {attribute!r}{suggest(attribute, dir(found))}")
        found, path = getattr(found, attribute), f"{path}.{attribute}"
    return found


def _check_parameters(target: Any, values: Mapping[str, Any], path: str) -> None:
    known = _parameters(target)
    if known is None or any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in values:
        if name not in known:
            raise ConfigError(unknown_parameter(f"{path}.{name}", list(known)))


def unknown_parameter(path: str, known: Sequence[str]) -> str:
    """The sentence for a parameter `group.name.parameter` that does not exist."""
    owner, _, name = path.rpartition(".")
    has = f"it has {', '.join(known)}" if known else "it has none"
    return f"{path}: {owner} has no parameter {name!r}{suggest(name, known)}; {has}"


def _parameters(target: Any) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):  # built in, without a signature
        return None


def _waits(target: Any, arguments: Iterable[Any], values: Mapping[str, Any]) -> bool:
    """Whether a function or a foreign class wants more than the configuration gives: the model and inputs, later."""
    if isinstance(target, type) and not _is_foreign(target):
        return False
    try:
        inspect.signature(target).bind(*arguments, **values)
    except TypeError:
        return True
    except ValueError:
        return False
    return False


def _is_foreign(target: Any) -> bool:
    """Whether it is a class that explains, but none of ours."""
    return isinstance(target, type) and hasattr(target, "attribute") and not issubclass(target, Method)


def _called(target: Any, arguments: Iterable[Any], values: Mapping[str, Any], path: str) -> Any:
    try:
        return target(*arguments, **values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    except TypeError as error:  # such as a word where a number was expected: which, Python does not say
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ConfigError(f"{path} does not take {given or 'no parameters'}: {error}") from error


def only(group: str, values: dict[str, Any]) -> Any:
    """The one component chosen in a group."""
    chosen = [name for name, node in (values.get(group) or {}).items() if isinstance(node, dict)]
    if len(chosen) > 1:
        raise ConfigError(f"this takes one {group}, got {', '.join(chosen)}: choose it with {group}=NAME")
    return next(iter(components(values, group).values()))


@contextmanager
def composing() -> Iterator[None]:
    """Within it `hydra.compose` reads the package's YAML, also inside of a run, whose own Hydra comes back."""
    busy = GlobalHydra.instance()
    running, busy.hydra = busy.hydra, None
    try:
        with initialize_config_module("xaieval.conf", version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """What a run with these words would be composed of, as plain values."""
    with composing():
        config = compose("config", overrides=list(overrides))
    choose_device(config)
    return plain(config)


def choose_device(config: DictConfig) -> None:
    """A CUDA device if there is one, else the CPU, where none is named."""
    if "device" in config and config.device is None:
        config.device = "cuda" if torch.cuda.is_available() else "cpu"
