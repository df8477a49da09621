"""The laws of methods: what every attribution method has to keep. Each is a function that raises `LawBroken`.

Those with a `family` of networks hold for methods of any kind: they are held on convolutional networks, and on
transformers or concept bottlenecks by a method that refuses these.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.laws import common, meaning
from xaieval.laws.common import difference, same
from xaieval.laws.components import SMALL, changed, depth, has_field, limited, reseeded
from xaieval.laws.families import CONVOLUTIONAL, Family
from xaieval.laws.guards import Law, LawBroken, Planes, no_waiting, untouched
from xaieval.laws.toys import Counting, Ignoring, images, seeded
from xaieval.unsupported import UnsupportedError


def laws_of(method: Method) -> Iterator[Law]:
    """The laws that concern this method, chosen by its attributes."""
    yield from (law_output, law_deterministic, law_batch_size, law_order, law_neighbors, law_layout, law_own_tensor)
    yield from (law_untouched, law_exception, law_absent, law_hooks, law_counted, law_memory)
    if has_field(method, "seed"):
        yield from (law_seed, law_copies)
    if not method.syncs:
        yield from (law_meta, law_no_waiting)
    yield from meaning.laws_of(method)
    yield from common.laws_of(method)


# -- the output --


def law_output(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """The attribution has the input's shape (or one channel), is float32 on its device, and is finite."""
    made = limited(method, SMALL)
    for inputs in (family.inputs(3), family.inputs(1)):
        work = family.bind(seeded(family.general), inputs)
        maps = made(work)  # checks shape, type and device
        if not bool(maps.isfinite().all()):
            raise LawBroken("the attribution has NaN or infinite values: look for a division by zero")
    if method.units not in ("", "gradient", "contribution", "importance"):
        raise LawBroken(f"units are {method.units!r}, expected gradient, contribution or importance")
    if method.units == "importance" and maps.shape[1] != 1 and not method.syncs:  # strangers keep their channels
        raise LawBroken(f"importance is one score for each feature, (N, 1, *F), got {tuple(maps.shape)}")


def law_own_tensor(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """The attribution is a tensor of its own: changing it changes neither the inputs nor a second attribution."""
    made, work = limited(method, SMALL), family.bind(seeded(family.general))
    inputs, maps = work.inputs.clone(), made(work)
    expected = maps.clone()
    maps.fill_(7.0)
    if not torch.equal(work.inputs, inputs):
        raise LawBroken("the attribution shares memory with the inputs, or they were changed: return a clone")
    same(made(work), expected, "after writing into an attribution a second one differs: return a clone")


# -- the same answer always --


def law_deterministic(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """Two fresh calls with one seed agree."""
    made = limited(method, SMALL)
    first, second = (made(family.bind(seeded(family.general))) for _ in range(2))
    same(first, second, "two calls with the same seed differ: draw with batch.normal, batch.uniform or a design", 1e-6)


def law_seed(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """Another seed gives another attribution."""
    made = limited(method, SMALL)
    first, second = (reseeded(made, seed)(family.bind(seeded(family.general))) for seed in (0, 1))
    if difference(first, second) < 1e-4:
        raise LawBroken("seeds 0 and 1 give the same attribution: the field seed does nothing")


def law_copies(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """In perturbed copies of an input draws and designs are fresh, with common draws they are those of the original."""
    made, work = limited(method, SMALL), family.bind(seeded(family.general), family.inputs(2), batch_size=8)
    original = made(work)
    for batch in work.batches(2):
        fresh, common = (made(batch.copies(batch.inputs, common_draws=held)) for held in (False, True))
        same(common, batch.of_rows(original), "a copy with common draws differs from the original")
        if difference(fresh[0], fresh[1]) < 1e-4:
            raise LawBroken("two copies of one input have the same draws: a design must come from explicand.design")


def law_batch_size(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """The number of inputs in one call of the model does not matter."""
    made = limited(method, SMALL)
    expected = made(family.bind(seeded(family.general), batch_size=3))
    for size in (1, 2, 7, 64):
        maps = made(family.bind(seeded(family.general), batch_size=size))
        same(maps, expected, f"batches of {size} and of 3 inputs give different attributions")


def law_order(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """The order of the samples does not matter."""
    made, inputs = limited(method, SMALL), family.inputs(4)
    expected = made(family.bind(seeded(family.general), inputs))
    turned = made(family.bind(seeded(family.general), inputs.flip(0), ids=family.names(4)[::-1], target=[3, 2, 1, 0]))
    same(turned.flip(0), expected, "in reverse order the samples get other attributions")


def law_neighbors(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """A sample alone and beside very different samples gets the same attribution."""
    made, inputs = limited(method, SMALL), family.inputs(3)
    inputs[1:] *= 10
    beside = made(family.bind(seeded(family.general), inputs))
    alone = made(family.bind(seeded(family.general), inputs[:1]))
    sentence = (
        "beside other samples a sample gets another attribution: something is scaled over the batch, or drawn for it "
        "as a whole (batch.normal and batch.uniform draw for each sample)"
    )
    same(beside[:1], alone, sentence)


def law_layout(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """Inputs may be strided in memory, as those of perturbed copies are."""
    made, work = limited(method, SMALL), family.bind(seeded(family.general))
    expected = made(work)
    wide = torch.stack((work.inputs, work.inputs), -1)[..., 0]
    turned = work.inputs.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for strided in (wide, turned):
        maps = made(Explicand(work.classifier, strided, work.target, work.ids))
        same(maps, expected, "with strided inputs the attribution differs")


# -- what stays as it was --


def law_untouched(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """Weights, buffers, modes, hooks, gradients and the global random states stay as they were."""
    made, module = limited(method, SMALL), _used_model(family)
    inputs = family.inputs(3)
    expected = inputs.clone()
    with untouched(module):
        made(family.bind(module, inputs))
    if not torch.equal(inputs, expected):
        raise LawBroken("it changed the user's images")


def law_exception(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """The model stays as it was when it fails in the middle, and works afterwards."""
    made, module = limited(method, SMALL), Counting(_used_model(family))
    work = family.bind(module, batch_size=1)
    module.calls = 0
    expected, calls = made(work), module.calls
    for fail_at in {1, calls // 2 + 1, calls}:
        work = family.bind(module, batch_size=1)
        module.calls, module.fail_at = 0, fail_at
        with untouched(module):
            _try(made, work)
        module.fail_at = None
        same(made(family.bind(module, batch_size=1)), expected, "after a model that failed the attribution differs")


def _try(method: Method, work: object) -> None:
    try:
        method(work)  # type: ignore[arg-type]
    except RuntimeError as error:
        if "as a test" not in str(error):
            raise


def _used_model(family: Family) -> nn.Module:
    """A model in the middle of training: some gradients, frozen weights and a hook of the user's."""
    module = seeded(family.general)
    first, *_, frozen = module.parameters()
    first.grad = torch.ones_like(first)
    frozen.requires_grad_(False)
    _, second, *_ = module.children()
    second.register_forward_hook(lambda *_: None)
    return module


def law_hooks(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """A rectifier, or attention, gives the same attribution as a module, in place or as a function."""
    made = limited(method, SMALL)
    maps = {kind: made(family.bind(seeded(write))) for kind, write in family.written.items()}
    for kind in maps:
        same(maps[kind], maps["module"], f"one network written with a {kind} and with a module has two attributions")


# -- where it runs --


def law_meta(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """It runs end to end on the meta device, where no value can be read."""
    made, inputs = limited(method, SMALL), family.inputs(3)
    work = family.bind(seeded(family.general), inputs.to("meta"), device="meta")
    try:
        maps = made(work)
    except UnsupportedError:
        raise
    except Exception as error:
        raise LawBroken(f"on the meta device it raises {type(error).__name__}: {error}") from error
    if maps.device.type != "meta":
        raise LawBroken(f"for inputs on the meta device the attribution is on {maps.device}")


def law_no_waiting(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """It never makes the device wait for the host."""
    made, work = limited(method, SMALL), family.bind(seeded(family.general))
    if family is not CONVOLUTIONAL:  # the places of tokens are looked up once for a model, which waits
        made(work)
        work = family.bind(work.classifier, family.inputs(3, seed=1))
    with no_waiting():
        made(work)


def law_absent(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """Values of absent features change nothing where the model ignores them."""
    made, inputs, present = limited(method, SMALL), family.inputs(3), family.some()
    module = Ignoring(seeded(family.general), present)
    where = present.expand(3, *present.shape)
    other = torch.where(present, inputs, 5 * family.inputs(3, seed=1) - 2)
    first, second = (made(family.bind(module, values, present=where)) for values in (inputs, other))
    same(first * present, second * present, "values of absent features change the scores of present ones")


# -- what it costs --


def law_counted(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """Every evaluation of the model is counted, once, and no call takes more inputs than it may."""
    made, module = limited(method, SMALL), Counting(seeded(family.general))
    work = family.bind(module)
    made(work)  # the model's layers are looked up once, which is not counted
    second = family.bind(work.classifier, family.inputs(3, seed=1))
    before, forwards, backwards = second.cost, module.forwards, module.backwards
    made(second)
    counted = [3 * (now - then) for now, then in zip(second.cost[:2], before[:2], strict=True)]
    real = [module.forwards - forwards, module.backwards - backwards]
    if [round(value) for value in counted] != real:
        raise LawBroken(f"it counted {counted} forwards and backwards, the model ran {real}")
    if module.largest > 4:
        raise LawBroken(f"it ran {module.largest} inputs at once in batches of 4")


def law_memory(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """The number of input-sized tensors alive at once does not grow with the number of draws."""
    count, side, batch_size = 2, 22, 2
    peaks = []
    for draws in (4, 16):
        made = changed(limited(method, SMALL), samples=draws, steps=draws, designs=draws)
        work = family.bind(seeded(family.written["module"]), images(count, side), batch_size=batch_size)
        with Planes((side, side)) as planes:
            made(work)
        peaks.append(planes.largest)
    allowed = 3 * depth(method) * (4 * count + 6 * batch_size)
    if peaks[1] > peaks[0] or (peaks[1] > allowed and not method.syncs):
        raise LawBroken(
            f"with 4 and 16 draws {peaks[0]} and {peaks[1]} planes (H, W) were alive at once, expected equal numbers "
            f"of at most {allowed}: work batch by batch"
        )
