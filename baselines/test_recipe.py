"""The average of the generator's weights against the published rules, written out."""

import pytest

from baselines.models import MODELS
from baselines.recipe import Recipe


def test_an_average_begins_at_its_start_and_has_one_decay():
    """BigGAN's code counts iterations from 1 and copies the generator while itr < start."""
    recipe, average, expected = Recipe("", ema_decay=0.9, ema_start=3), -5.0, -5.0
    for iteration, weight in enumerate((1.0, 4.0, 9.0, 16.0, 25.0), start=1):
        decay = recipe.decay(iteration)
        average = decay * average + (1 - decay) * weight
        expected = weight if iteration < 3 else 0.9 * expected + 0.1 * weight
        assert average == pytest.approx(expected)
        assert recipe.weights(iteration) == ("raw" if iteration < 3 else "ema")


def test_without_a_decay_the_generator_itself_is_measured():
    recipe = Recipe("")
    assert {recipe.decay(iteration) for iteration in range(5)} == {0.0}
    assert {recipe.weights(iteration) for iteration in range(5)} == {"raw"}
    assert Recipe("", ema_decay=0.9).weights(0) == "raw" and Recipe("", ema_decay=0.9).weights(1) == "ema"


PUBLISHED = {  # model, recipe -> flip, ema_decay, ema_start; from the sources that the recipes name
    ("dcgan", "published"): (False, 0, 0),
    ("wgan", "published"): (False, 0, 0),
    ("biggan", "cifar"): (True, 0.9999, 1000),
    ("biggan", "imagenet"): (False, 0.9999, 20_000),
    ("stylegan2", "low_shot"): (True, 0.5 ** (16 / 10_000), 626),
    ("stylegan2", "paper256"): (False, 0.5 ** (16 / 20_000), 0),
}


@pytest.mark.parametrize("model, name", PUBLISHED)
def test_flips_and_averages_are_the_published_ones(model, name):
    recipe = MODELS[model].RECIPES[name]
    assert (recipe.flip, recipe.ema_decay, recipe.ema_start) == PUBLISHED[model, name]


def test_the_low_shot_average_begins_after_10_000_images():
    """Its code copies the generator while the images shown before an iteration of 16 are less than 10,000."""
    recipe = MODELS["stylegan2"].RECIPES["low_shot"]
    first = next(iteration for iteration in range(1, 2000) if recipe.decay(iteration) > 0)
    assert 16 * (first - 1) >= 10_000 > 16 * (first - 2)
