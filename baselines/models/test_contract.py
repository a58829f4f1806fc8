"""The contract of a model's file: what is here holds it, and each fault is named in one line."""

import sys
from textwrap import dedent

import pytest
import torch

from baselines import models
from baselines.contract import Broken
from baselines.models import MODELS, Models, contract
from baselines.recipe import SIZES

SMALLEST = dedent(contract.__doc__[contract.__doc__.index("    import torch\n"):])


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that loads the text of a model's file as baselines/models/mine.py."""
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])

    def load(text: str):
        (tmp_path / "mine.py").write_text(text)
        monkeypatch.delitem(sys.modules, "baselines.models.mine", raising=False)
        monkeypatch.delattr(models, "mine", raising=False)
        sys.path_importer_cache.clear()
        return Models(["dcgan", "mine"])

    yield load
    sys.modules.pop("baselines.models.mine", None)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_holds_the_contract_in_every_recipe(name):
    model = MODELS[name]
    _, resolution = contract.smallest(model)
    for recipe in model.RECIPES.values():
        contract.check_networks(model, recipe, resolution, contract.CLASSES)


def test_the_smallest_model_of_the_docstring_is_whole(file):
    state = torch.get_rng_state()
    mine = file(SMALLEST)["mine"]
    assert torch.equal(torch.get_rng_state(), state)
    assert mine.Discriminator.joint is True and mine.RECIPES["mine"].resolutions == (32, 64)


FAULTS = {  # what is replaced, by what, and what the line says
    "syntax": ("import torch\n", "import torch (\n", "does not run: SyntaxError"),
    "an import": ("import torch\n", "import torch, no_such_module\n", "does not run: ModuleNotFoundError"),
    "an exit": ("import torch\n", "import torch\nraise SystemExit(0)\n", "does not run: SystemExit"),
    "no generator": ("class Generator", "class G", "must define Generator"),
    "a function": ("class Discriminator(nn.Module):", "def Discriminator():", "must define Discriminator"),
    "no recipes": ("RECIPES =", "RECIPE =", "must define RECIPES"),
    "a recipe in words": ("Recipe(source=", "dict(source=", "RECIPES['mine'] is a dict"),
    "a loss": ("resolutions=", 'loss="l2", resolutions=', "loss 'l2' is not one of logistic"),
    "a regularizer": ("resolutions=", 'regularizers={"l2": 1}, resolutions=', "regularizer 'l2' is not one of gradgap"),
    "a size": ("(32, 64)", "(32, 48)", "resolution 48 is not one of 32, 64"),
    "no size": ("(32, 64)", "()", "no recipe in RECIPES is for any resolution"),
    "no source": ('source="where its hyperparameters were published, or: ours"', 'source=""', "source must say"),
    "no width": ("resolutions=", "generator={}, resolutions=", "generator must give a width"),
    "an argument": ("resolutions=", 'generator={"width": 1, "depth": 2}, resolutions=', "TypeError"),
    "no latent": ("latent = 16\n", "size = 16\n", "Generator.latent is None"),
    "joint in words": ("class Discriminator(nn.Module):", "class Discriminator(nn.Module):\n    joint = 'no'\n",
                       "Discriminator.joint is 'no'"),
    "batch norm": ("nn.Linear(3 * resolution**2, hidden), nn.S",
                   "nn.Linear(3 * resolution**2, hidden), nn.BatchNorm1d(hidden), nn.S", "must say joint = False"),
    "the images' shape": ("(3, resolution, resolution)", "(resolution, 3, resolution)", "must be [8, 3, 32, 32]"),
    "the logits' shape": ("logits[:, 0] if", "logits if", "returned a tensor of shape [8, 1], must be [8]"),
    "no number": ("return self.net(z", "return 0 / 0 * self.net(z", "ZeroDivisionError"),
    "not finite": ("return self.net(z", "return torch.nan * self.net(z", "not finite"),
    "an idle parameter": ("self.net = ", "self.idle = nn.Parameter(torch.zeros(()))\n        self.net = ",
                          "Generator.idle gets no gradient"),
    "once differentiable": ("logits = self.out", "(x := x * 1).requires_grad and x.register_hook(Tensor.detach)\n"
                            "        logits = self.out", "cannot be differentiated twice"),
    "labels out of range": ("nn.Embedding(classes, 16) if classes else None", "nn.Embedding(max(1, classes), 16)",
                            "Generator.forward(z, y) failed: IndexError"),
    "labels": ("z + self.embed(y)", "z + self.embed(0 * y)", "Generator ignores its labels"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_line_and_stops_no_other_model(fault, file):
    old, new, said = FAULTS[fault]
    assert SMALLEST.count(old) >= 1
    loaded = file(SMALLEST.replace(old, new))
    assert "mine" in loaded and loaded["dcgan"].Generator
    with pytest.raises(Broken) as error:
        loaded["mine"]
    message = str(error.value)
    assert message.startswith("baselines/models/mine.py: ") and said in message and "\n" not in message


def test_what_is_not_there_is_a_key_error():
    assert "vae" not in MODELS and set(MODELS) == {"biggan", "dcgan", "stylegan2", "wgan"}
    with pytest.raises(KeyError):
        MODELS["vae"]


@pytest.mark.parametrize("name", ["biggan", "dcgan", "stylegan2", "wgan"])
def test_the_benchmarks_models_have_a_default_recipe_for_every_size(name):
    sizes = []
    for recipe in MODELS[name].RECIPES.values():
        sizes += recipe.resolutions
    assert sorted(sizes) == list(SIZES)
