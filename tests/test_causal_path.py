"""Causal paths on networks whose causes are known, and against weights that are really edited in a copy."""

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from known_answers import normal, random
from networks import assert_close, network
from scipy import stats
from test_passages import Residual
from torch import nn
from torch.nn.functional import conv2d, interpolate, relu

from xaieval.attributions.causal_path import CausalPath
from xaieval.causal import CausalGraph, from_last_spatial, links, relevant, significant, sufficiency, walk
from xaieval.causal_cut import Cut
from xaieval.causal_plot import draw
from xaieval.classifier import Classifier
from xaieval.component import component_json
from xaieval.config import component
from xaieval.laws.guards import untouched
from xaieval.laws.toys import General, seeded

PATH = CausalGraph(0, ("0", "2", "6"), ((1,), (2,), (3,)))


def sequential(bias=True, norm=False):
    """Convolutions of 6 and 8 channels, 2 x 2 places before a linear layer for 5 classes."""
    parts = list(network(bias=bias)[:4])
    if norm:
        parts.insert(3, seeded(lambda: nn.BatchNorm2d(8)))
        nn.init.normal_(parts[3].bias, generator=torch.Generator().manual_seed(2))
    head = nn.Linear(32, 5, bias=bias)
    nn.init.normal_(head.weight, std=0.3, generator=torch.Generator().manual_seed(1))
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), head)


def single_path():
    """Input channel 1 -> unit 2 -> unit 3 -> class 0; other units act on other classes, against the class, or nowhere.

    Unit 0 of the first layer (from input channel 0) goes to unit 0 of the second (class 1, and against class 0) and to
    unit 1, which goes nowhere. Unit 3 of the first layer, seen by unit 3 of the second, is dead.
    """
    module = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    )
    for weight in module.parameters():
        nn.init.zeros_(weight)
    state = module.state_dict()
    first, second, head = (state[f"{number}.weight"] for number in (0, 2, 6))
    first[2, 1, 1, 1] = first[0, 0, 1, 1] = 1
    state["0.bias"][3] = -1
    second[3, 2] = second[0, 0] = second[1, 0] = second[3, 3] = 1
    head[0, 3], head[1, 0], head[0, 0] = 5, 1, -0.5
    return module


def bound(module, count=24, target=0, batch_size=7, seed=0, size=(8, 8), **options):
    return Classifier(module, batch_size=batch_size).explicand(random(count, 3, *size, seed=seed), target, **options)


def of_class(module, count=24, size=(8, 8)):
    """Images that the model puts into the class it sees most, bound to it."""
    inputs = random(200, 3, *size)
    predicted = module.eval()(inputs).argmax(1)
    target = int(predicted.mode().values)
    return Classifier(module, batch_size=7).explicand(inputs[predicted == target][:count], target)


def cut_of(explicand, name, effects):
    link = next(link for link in links(explicand) if link.name == name)
    mask = torch.zeros(explicand.count, link.gives, dtype=torch.bool)
    mask[:, list(effects)] = True
    return Cut.at(explicand, link, mask)


def every_unit(cut):
    return torch.arange(cut.link.channels).expand(len(cut.given), -1)


# -- one cut -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"norm": True}], ids=["bias", "no bias", "batch norm"])
@pytest.mark.parametrize(("name", "effects"), [("0", (1, 2, 5)), ("2", (0, 3)), ("2", ()), ("last", (2,))])
@torch.no_grad()
def test_cutting_edges_equals_setting_weights_to_0_in_a_copy(options, name, effects):
    module = sequential(**options).eval()
    name = str(len(module) - 1) if name == "last" else name
    explicand = bound(module, 5, target=2)
    cut = cut_of(explicand, name, effects)
    drops, logits, _ = cut.drops(every_unit(cut))
    expected = []
    for unit in range(cut.link.channels):
        twin = copy.deepcopy(module)
        weight = twin[int(name)].weight
        for effect in effects:  # a linear layer has one weight for each place of a unit
            weight.view(len(weight), cut.link.channels, -1)[effect, unit] = 0
        expected.append((module(explicand.inputs) - twin(explicand.inputs))[:, 2])
    torch.testing.assert_close(logits[:, 0], module(explicand.inputs)[:, 2], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(drops, torch.stack(expected, 1), rtol=0, atol=2e-5 * float(logits.abs().max()))
    assert (drops.abs().max() > 0) == bool(effects)


@torch.no_grad()
def slow_residual(net, x, block, unit, effects):
    """Logits with the edges from a unit into a block cut, every image and every layer computed anew."""
    hidden = relu(net.stem(x))
    for number, layer in enumerate(net.blocks):
        clean = layer(hidden)
        if number == block:
            hidden[:, unit] = 0
            cut = layer(hidden)
            clean[:, effects] = cut[:, effects]
        hidden = clean
    return net.head(hidden.mean((2, 3)))


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_in_a_residual_network_known_prefixes_give_what_full_runs_give(block, batch_size):
    net = Residual()
    explicand = bound(net, 3, target=1, batch_size=batch_size)
    cut = cut_of(explicand, f"blocks.{block}", (0, 4))
    drops, logits, _ = cut.drops(every_unit(cut))
    x = explicand.inputs
    expected = [logits[:, 0] - slow_residual(net, x, block, unit, [0, 4])[:, 1] for unit in range(6)]
    torch.testing.assert_close(drops, torch.stack(expected, 1), rtol=0, atol=2e-5 * float(logits.abs().max()))
    assert drops.abs().max() > 0.01


@pytest.mark.parametrize(("module", "name"), [(sequential(norm=True), "2"), (Residual(), "blocks.1")])
def test_one_image_with_known_activations_scores_as_all_images_do(module, name):
    explicand = bound(module.eval(), 5)
    known = cut_of(explicand, name, (0,)).given
    known[:, 1] = 0
    edit = {name: lambda given: known.clone()}
    one, every = (explicand.edited(x, explicand.target, edit).values for x in (explicand.inputs[:1], explicand.inputs))
    torch.testing.assert_close(one, every, rtol=1e-6, atol=1e-6)
    assert (one - explicand.clean.values).abs().max() > 1e-3


def test_an_edit_that_is_not_reached_is_told():
    explicand = bound(Residual(), 2)
    with pytest.raises(ValueError, match="layer 'spare' was not reached by the call"):
        explicand.edited(explicand.inputs, explicand.target, {"spare": lambda given: given})


def test_the_estimate_is_exact_for_a_linear_layer_and_follows_the_effects_alone():
    cut = cut_of(bound(sequential(), 4), "6", (0,))
    torch.testing.assert_close(cut.estimate, cut.drops(every_unit(cut))[0], rtol=0, atol=1e-4)
    assert (cut_of(bound(sequential(), 4), "6", (1,)).estimate == 0).all()


# -- rules -------------------------------------------------------------------------------------------------------------


def test_causes_of_a_class_are_those_of_scipys_paired_test():
    clean, cut = normal(30, 1, seed=1), normal(30, 40, seed=2) + torch.linspace(-1, 1, 40)
    kept = significant(clean - cut, clean, 0.05)
    expected = stats.ttest_rel(clean.expand(-1, 40).double(), cut.double(), alternative="greater").pvalue < 0.05
    assert kept[0].tolist() == expected.tolist()
    assert 5 < kept[0].sum() < 35
    assert torch.equal(kept, kept[:1].expand(30, -1))
    # What the same images share is no noise: an independent test would see nothing here.
    shared = 100 * normal(30, 1, seed=3)
    independent = stats.ttest_ind((clean + shared).expand(-1, 40).double(), (cut + shared).double())
    assert (independent.pvalue > 0.05).all()


def test_where_no_unit_passes_a_slight_mean_drop_is_enough():
    logits = -torch.full((20, 1), 10.0)  # negative: the size counts
    noise = torch.tensor([1.0, -1.0]).repeat(10)[:, None]
    drops = noise * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.02, 0.005, 0.0])
    assert significant(drops, logits, 0.05)[0].tolist() == [True, False, False]
    assert significant(torch.cat((drops, torch.ones(20, 1)), 1), logits, 0.05)[0].tolist() == [False] * 3 + [True]
    assert not significant(torch.zeros(20, 3), logits, 0.05).any()


def test_causes_of_one_image_are_relative_drops():
    drops = torch.tensor([[0.6, 0.4, 0.02, -3.0], [0.4, 0.02, 0.009, -3.0], [0.009, 0.0, 0.0, -3.0]])
    expected = [[True, False, False, False], [True, True, False, False], [False] * 4]
    for sign in (1, -1):
        assert relevant(drops, torch.full((3, 1), 10.0 * sign), 0.05).tolist() == expected


# -- graphs ------------------------------------------------------------------------------------------------------------


def test_a_single_path_is_recovered_exactly():
    assert CausalGraph.of(bound(single_path())) == PATH
    chain = links(bound(single_path(), 3))
    masks, _ = walk(bound(single_path(), 3), chain, 64, partial(relevant, threshold=0.05))
    for mask, causes in zip(masks, PATH.causes, strict=True):
        assert [row.nonzero()[:, 0].tolist() for row in mask] == [list(causes)] * 3


def test_dead_units_and_units_without_outgoing_weights_are_no_causes():
    module = sequential()
    module[0].weight.data[1], module[0].bias.data[1] = 0, -1  # dead
    module[2].weight.data[:, 4] = 0  # goes nowhere
    module[6].weight.data.view(5, 8, 4)[:, 2:5] = 0
    graph = CausalGraph.of(of_class(module))
    assert not {1, 4} & set(graph.causes[1])
    assert not {2, 3, 4} & set(graph.causes[2])
    assert graph.causes[1]
    assert graph.causes[2]


def test_where_no_unit_is_a_cause_the_graph_ends():
    module = sequential()
    nn.init.zeros_(module[6].weight)
    module[6].bias.data[3] = 5
    assert CausalGraph.of(bound(module, target=3)).causes == ((), (), ())
    assert (CausalPath()(bound(module, 2, target=3)) == 0).all()


@pytest.mark.parametrize("module", [sequential(), sequential(norm=True), Residual()], ids=["plain", "norm", "residual"])
def test_order_and_batches_do_not_matter_and_the_model_stays(module):
    explicand = of_class(module.eval())
    with untouched(module):
        graph = CausalGraph.of(explicand)
    assert all(graph.causes)
    target = int(explicand.target[0])
    turned = Classifier(module, batch_size=64).explicand(explicand.inputs.flip(0), target)
    assert CausalGraph.of(turned) == graph
    with torch.inference_mode():
        assert CausalGraph.of(bound(single_path())) == PATH


def test_only_images_that_the_model_classifies_correctly_count():
    module = single_path()
    wrong = random(30, 3, 8, 8)
    wrong[:, 1] = 0  # class 1
    explicand = Classifier(module, batch_size=7).explicand(torch.cat((wrong, random(20, 3, 8, 8))), 0)
    assert CausalGraph.of(explicand) == PATH
    few = Classifier(module).explicand(torch.cat((wrong, random(19, 3, 8, 8))), 0)
    with pytest.raises(
        ValueError, match="classifies 19 of 49 images as class 0, expected at least 20: give more images"
    ):
        CausalGraph.of(few)


def test_candidates_are_those_with_the_largest_estimate():
    graph = CausalGraph.of(of_class(sequential()), candidates=2)
    whole = CausalGraph.of(of_class(sequential()))
    assert max(map(len, graph.causes)) <= 2 < max(map(len, whole.causes))
    assert CausalGraph.of(bound(single_path()), candidates=1) == PATH


def test_a_graph_of_some_layers():
    assert CausalGraph.of(bound(single_path()), ("2", "6")) == CausalGraph(0, ("2", "6"), ((2,), (3,)))


def test_bad_input_of_a_graph_is_told():
    module = single_path()
    with pytest.raises(ValueError, match=r"samples explained for the classes \[0, 1\]: bind images of one class"):
        CausalGraph.of(bound(module, 2, target=[0, 1]))
    with pytest.raises(ValueError, match=r"candidates >= 1 and a level between 0 and 0[.]5, got 0 and 0[.]05"):
        CausalGraph.of(bound(module), candidates=0)
    with pytest.raises(ValueError, match=r"got 64 and 0\.5"):
        CausalGraph.of(bound(module), level=0.5)
    with pytest.raises(ValueError, match="expected causes for each of at least one layer, got 1 for 2 layers"):
        CausalGraph(0, ("0", "2"), ((1,),))


def test_a_graph_costs_what_is_stated():
    explicand = bound(single_path(), 20)
    CausalGraph.of(explicand)
    # One for the scores; for each layer all its units (3, 4, 5), one that cuts nothing, one to read it.
    assert explicand.cost[:2] == (1 + (3 + 2) + (4 + 2) + (5 + 2), 3)


# -- sufficiency -------------------------------------------------------------------------------------------------------


def test_the_known_path_is_sufficient_and_another_one_is_not():
    explicand = bound(single_path(), 5)
    kept = sufficiency(explicand, PATH)
    # What the class gets against it, 0.5 of input channel 0's mean, is not on the path.
    expected = explicand.clean.logit + 0.5 * explicand.inputs[:, 0].mean((1, 2))
    torch.testing.assert_close(kept.logit, expected)
    assert (sufficiency(explicand, CausalGraph(0, PATH.layers, ((0,), (2,), (3,)))).logit == 0).all()
    assert explicand.cost[:2] == (3, 0)


@torch.no_grad()
def test_keeping_the_graph_equals_setting_all_other_weights_to_0_in_a_copy():
    module = sequential()
    explicand = of_class(module)
    graph = CausalGraph.of(explicand, candidates=3)
    target, twin = graph.target, copy.deepcopy(module)
    for name, causes, effects in zip(graph.layers, graph.causes, graph.effects, strict=True):
        weight = twin[int(name)].weight
        units = weight.view(len(weight), -1, 4) if name == "6" else weight
        kept = torch.zeros_like(units)
        for effect in effects:
            kept[effect, list(causes)] = units[effect, list(causes)]
        weight.copy_(kept.view_as(weight))
    expected = twin(explicand.inputs)[:, target]
    torch.testing.assert_close(sufficiency(explicand, graph).logit, expected, rtol=1e-5, atol=1e-5)
    assert (expected - explicand.clean.logit).abs().max() > 0.01


def test_every_channel_is_sufficient():
    explicand = bound(Residual(), 4)
    whole = tuple(tuple(range(link.channels)) for link in links(explicand))
    graph = CausalGraph(0, tuple(link.name for link in links(explicand)), whole)
    torch.testing.assert_close(sufficiency(explicand, graph).values, explicand.clean.values)


def test_a_graph_of_another_model_is_told():
    with pytest.raises(ValueError, match="a unit has the number 9, but the layer has 6: another model"):
        sufficiency(bound(sequential(), 2), CausalGraph(0, ("2", "6"), ((9,), (3,))))


# -- maps --------------------------------------------------------------------------------------------------------------


def upsampled(maps, size):
    return interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)


@torch.no_grad()
def slow_map(module, inputs, causes, effects):
    """The second convolution's map: its weights' cross-correlation with a channel, softmax, mean, sum; loops."""
    given = module[:2](inputs)
    total = torch.zeros(len(inputs), 4, 5)
    for effect in effects:
        for cause in causes:
            weight = module[2].weight[effect, cause][None, None]
            values = conv2d(given[:, cause : cause + 1], weight, stride=2, padding=1)[:, 0]
            shares = torch.exp(values) / torch.exp(values).sum((1, 2), keepdim=True)
            torch.testing.assert_close(shares.sum((1, 2)), torch.ones(len(inputs)))
            total = total + shares / len(causes)
    return upsampled(total, inputs.shape[2:])


def test_a_graphs_map_is_the_softmax_of_cross_correlations_after_the_rectifier():
    module, causes, effects = sequential(), (0, 2, 5), (1, 3)
    explicand = bound(module, 3, target=2, size=(16, 20))
    method = CausalPath(graph=CausalGraph(2, ("0", "2", "6"), ((1,), causes, effects)))
    assert_close(method(explicand), slow_map(module, explicand.inputs, causes, effects), 1e-5)
    assert explicand.cost[:2] == (len(causes) + 2, 1)
    # A graph of fewer layers has the same map, and layers= names another one.
    short = CausalGraph(2, ("2", "6"), (causes, effects))
    assert_close(CausalPath(graph=short)(explicand), method(explicand), 1e-6)
    first = CausalPath(("0",), graph=method.graph)(explicand)
    total = explicand.upsample(slow_first(module, explicand.inputs, causes))
    assert_close(first, total, 1e-5)


@torch.no_grad()
def slow_first(module, inputs, effects):
    values = conv2d(inputs[:, 1:2], module[0].weight[list(effects), 1:2], stride=2, padding=1)
    return values.flatten(2).softmax(2).sum(1).view(len(inputs), 1, *values.shape[2:])


def test_without_a_graph_each_image_has_its_own_causes():
    module = sequential()
    explicand = bound(module, 6, target=[0, 1, 2, 3, 4, 0], size=(16, 20))
    method = CausalPath(threshold=0.1)
    maps = method(explicand)
    masks, _ = walk(explicand, from_last_spatial(links(explicand)), 64, partial(relevant, threshold=0.1))
    causes, effects = ([row.nonzero()[:, 0].tolist() for row in mask] for mask in masks)
    assert len({tuple(row) for row in causes}) > 1
    for row in range(6):
        expected = slow_map(module, explicand.inputs[row : row + 1], causes[row], effects[row])
        assert_close(maps[row : row + 1], expected, 1e-5)
    assert explicand.cost[:2] == (2 * ((6 + 2) + (8 + 2)), 4)  # the method and the walk


def test_in_a_residual_network_a_unit_contributes_what_the_block_gives_less_without_it():
    net = Residual()
    explicand = bound(net, 3, target=1)
    given = relu(net.stem(explicand.inputs))
    given = net.blocks[0](given).detach()
    total = 0
    for cause in (0, 3):
        less = given.clone()
        less[:, cause] = 0
        change = (net.blocks[1](given) - net.blocks[1](less)).detach()[:, [1, 2, 4]]
        total = total + change.flatten(2).softmax(2).sum(1).view(3, 4, 4) / 2
    graph = CausalGraph(1, ("blocks.1", "head"), ((0, 3), (1, 2, 4)))
    assert_close(CausalPath(graph=graph)(explicand), upsampled(total, (8, 8)), 1e-5)


def test_a_stated_number_of_inputs_really_runs():
    """What follows the map's layer runs for every pair that is counted; what comes before it once in each batch."""
    module = sequential()
    explicand = bound(module, 3, batch_size=4)
    CausalPath()(explicand)
    explicand = bound(module, 3, batch_size=4)
    explicand.classifier.structure.chain(explicand.inputs)
    seen: dict[str, list[int]] = {"0": [], "6": []}
    handles = [
        module[int(name)].register_forward_hook(lambda layer, given, output, name=name: seen[name].append(len(output)))
        for name in seen
    ]
    CausalPath()(explicand)
    for handle in handles:
        handle.remove()
    # Reading both layers: 2 x 3. Layer 2: 3 x (6 + 1) pairs. Layer 6: 3 x (8 + 1) pairs.
    assert 3 * explicand.cost.forwards == 6 + 21 + 27 == sum(seen["6"])
    assert sum(seen["0"]) == 6 + 6 + 7  # batches of at most 4
    assert max(seen["0"] + seen["6"]) <= 4


def test_a_graph_is_a_field_like_others():
    method = CausalPath(graph=PATH)
    assert repr(method).endswith("graph=CausalGraph(target=0, layers=('0', '2', '6'), causes=((1,), (2,), (3,))))")
    assert method == pickle.loads(pickle.dumps(method)) != CausalPath()
    assert '"causes": [[1], [2], [3]]' in component_json(method)
    node = {"_target_": "xaieval.causal.CausalGraph", "target": 0, "layers": ["0", "2", "6"], "causes": [[1], [2], [3]]}
    built = component("method", {"_target_": "xaieval.attributions.causal_path.CausalPath", "graph": node}, "mine")
    assert built == method
    assert (CausalPath().syncs, method.syncs) == ("", "the classes explained are compared with the graph's")


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="CausalPath: candidates must be at least 1, got 0"):
        CausalPath(candidates=0)
    with pytest.raises(ValueError, match="CausalPath: threshold must lie between 0 and 1, got 1"):
        CausalPath(threshold=1)
    with pytest.raises(ValueError, match=r"graph is of class 0, got samples explained for the classes \[0, 1\]"):
        CausalPath(graph=PATH)(bound(single_path(), 2, target=[0, 1]))
    with pytest.raises(ValueError, match="the graph has the layers 0, 2, 6, expected 4 among them"):
        CausalPath(("4",), graph=PATH)(bound(single_path(), 2))
    with pytest.raises(ValueError, match=r"layer '6' gives \(2, 3\), expected activations \(N, K, h, w\): a map needs"):
        CausalPath(("6",))(bound(single_path(), 2))
    with pytest.raises(ValueError, match="the chain 1 has no layer that takes and gives activations"):
        CausalPath()(bound(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), 2))


# -- drawing -----------------------------------------------------------------------------------------------------------


def test_the_graph_is_drawn_with_all_its_units_and_edges():
    figure = draw(CausalGraph(3, ("0", "2", "6"), ((0, 2), (), (1, 5, 7))), title="teapot")
    axes: Any = figure.axes[0]
    assert [len(lines.get_segments()) for lines in axes.collections[:3]] == [0, 0, 3]
    assert [len(points.get_offsets()) for points in axes.collections[3:]] == [2, 0, 3, 1]
    assert [text.get_text() for text in axes.texts] == ["0", "2", "1", "5", "7", "3"]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["into 0\n2 causes", "into 2\n0 causes", "into 6\n3 causes", "teapot"]
    full: Any = draw(PATH).axes[0]
    assert [len(lines.get_segments()) for lines in full.collections[:3]] == [1, 1, 1]
    assert full.get_xticklabels()[-1].get_text() == "class 0"


def test_batch_norm_and_in_place_rectifiers_are_no_obstacle():
    """The general network of the laws, in training mode in parts: a map that is not 0."""
    explicand = bound(seeded(General), 3, target=[0, 1, 2], size=(16, 16))
    maps = CausalPath()(explicand)
    assert (maps.flatten(1).amax(1) > 0).all()
