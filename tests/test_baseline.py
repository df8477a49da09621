"""What `make baseline` fills a store with: every method, so that a new one meets them all."""

import re
from pathlib import Path

import pytest

from xaieval.config import components, composed, default, names

ORACLES = {name for name in names("method") if getattr(default("method", name), "oracle", False)}

ELSEWHERE = {"attention_relevance", "attention_rollout"}
"""They read attention over tokens, which none of these models computes."""

CONCEPTS = {"coam", "part_effects"}
"""They explain by concepts and parts, which are told of scenes alone, in experiment=concepts."""

OF_TEXTS = {"absolute", "beam_search", "leave_one_out", "leave_one_out_absolute"}
"""On images too slow, or what another method is there."""

OF_IMAGES = {
    "ablation_cam", "blur_ig", "causal_path", "centre_blob", "contrastive_excitation_backprop", "deconvnet", "deeplift",
    "edge_detector", "eigen_cam", "excitation_backprop", "feature_ablation", "grad_cam", "grad_cam_plus_plus",
    "gradient", "guided_backprop", "guided_ig", "hires_cam", "layer_cam", "linear_approximation", "lrp",
    "lrp_alpha2_beta1", "lrp_epsilon_gamma_box", "meta_saliency", "normgrad", "occlusion", "random_coarse", "score_cam",
    "selective_normgrad", "xgrad_cam",
}  # fmt: skip
"""They need pixels or a layer of an image model, or are another one on words."""


@pytest.mark.parametrize("experiment", ["photos_all", "planted", "scenes"])
def test_every_image_method_but_oracles_is_there(experiment):
    absolute = {"input_x_gradient_absolute", "integrated_gradients_absolute"}
    left_out = {*ORACLES, *ELSEWHERE, *CONCEPTS, *OF_TEXTS, *absolute}
    assert (
        set(components(composed([f"experiment={experiment}"]), "method"))
        == {
            *names("method"),
            "smoothgrad_squared",
        }
        - left_out
    )


def test_every_text_method_but_oracles_is_there():
    methods = components(composed(["experiment=reviews"]), "method")
    left_out = {*ORACLES, *ELSEWHERE, *CONCEPTS, *OF_IMAGES, "absolute"}
    assert set(methods) == set(names("method")) - left_out


def test_the_demo_has_computed_part_of_the_photos():
    demo, photos = (composed([f"experiment={name}"]) for name in ("demo", "photos"))
    for group, least in (("method", len(demo["method"])), ("metric", len(demo["metric"]))):
        shared = [name for name, one in demo[group].items() if photos[group].get(name) == one]
        assert len(shared) == least
    every = composed(["experiment=photos_all"])["method"]
    assert {name: every[name] for name in photos["method"]} == photos["method"]


def test_make_baseline_runs_them_all():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    recipe = makefile.partition("\nbaseline:")[2].partition("\n\n")[0]
    assert re.findall(r"experiment=(\w+)", recipe) == ["planted", "reviews", "scenes", "photos_all"]
