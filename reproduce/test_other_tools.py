"""The images that a run exports have the same scores by clean-fid and by torch-fidelity as in the run's own record."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid import fid
from cleanfid.resize import build_resizer
from PIL import Image
from torch import Tensor, nn
from torch_fidelity import calculate_metrics, register_feature_extractor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from benchmarks import extractors
from benchmarks.runs import Protocol, Run
from reproduce import record, release
from reproduce.evaluate import evaluate
from reproduce.settings import Settings
from reproduce.train import train

CPU = torch.device("cpu")
COUNT = 60  # images of the data set, and generated ones
RUN = Run("dcgan", "few", 64, iterations=4, batch=4, override={"width": 0.1})


class StandIn(nn.Module):
    """The interface of inception-2015-12-05.pt on a small network with random weights: 16 features, 1008 logits."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 23, 23), nn.ReLU(), nn.AvgPool2d(13), nn.Flatten())
        self.output = nn.Linear(16, 1008)
        nn.init.normal_(self.output.weight, std=100)  # so that images differ in their classes

    def forward(self, img: Tensor) -> Tensor:
        return self.layers((img - 128) / 128)


class ForFidelity(FeatureExtractorInceptionV3):
    """torch-fidelity's extractor, with this network and clean-fid's resize in the place of its own."""

    file = ""

    def __init__(self, name, features_list, **kwargs):
        nn.Module.__init__(self)
        self.name, self.features_list = name, features_list
        self.network, self.resize = torch.jit.load(self.file), build_resizer("clean")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        resized = [torch.from_numpy(self.resize(image.permute(1, 2, 0).numpy())) for image in images]
        features = self.network(torch.stack(resized).permute(0, 3, 1, 2))
        outputs = {"2048": features, "logits_unbiased": features @ self.network.output.weight.T}
        return tuple(outputs[name] for name in self.features_list)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """The network's file, which passes for Inception's in this module."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / extractors.INCEPTION.file
    torch.jit.script(StandIn().eval()).save(str(path))
    content = path.read_bytes()
    published = extractors.INCEPTION
    extractors.INCEPTION = extractors.Weights(path.name, "here", len(content), hashlib.sha256(content).hexdigest())
    yield path
    extractors.INCEPTION = published


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory) -> dict:
    """Folders of real and of generated images, and the run's scores by the name of the metric."""
    place = tmp_path_factory.mktemp("exported")
    (place / "few").mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (COUNT, 6, 6, 3), np.uint8)):
        Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC).save(place / "few" / f"{i:03d}.png")
    train(RUN, Settings(data=place, results=place), CPU)
    evaluate(RUN, Protocol("inception", samples=COUNT, weights=network), place, place, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["release", f"{place / RUN.id}", f"OUT={place}/samples/", f"COUNT={COUNT}"])
        release.main()
    entries = record.read_json(place / RUN.id / "metrics.json")["metrics"]
    scores = {entry["name"]: entry["value"] for entry in entries if entry["checkpoint"] == "last"}
    return {"real": f"{place / 'few'}", "generated": f"{place / 'samples'}", "scores": scores}


def test_clean_fid_agrees(exported, network):
    theirs = fid.compute_fid(
        exported["real"], exported["generated"], mode="clean", num_workers=0, device=CPU, use_dataparallel=False,
        verbose=False, custom_feat_extractor=torch.jit.load(str(network)))  # fmt: skip
    assert exported["scores"]["fid"] == pytest.approx(float(theirs), rel=1e-4)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_torch_fidelity_agrees(exported, network):
    ForFidelity.file = str(network)
    register_feature_extractor("stand-in", ForFidelity)
    theirs = calculate_metrics(
        input1=exported["generated"], input2=exported["real"], fid=True, isc=True, kid=True, kid_subset_size=COUNT,
        kid_subsets=1, samples_shuffle=False, feature_extractor="stand-in", cuda=False,
        cache=False, verbose=False, batch_size=20)  # fmt: skip
    names = {"fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean",
             "is": "inception_score_mean"}
    for ours, their_name in names.items():
        assert exported["scores"][ours] == pytest.approx(theirs[their_name], rel=1e-4, abs=1e-9), ours
