"""`make bench-eval`: CPU seconds of an evaluation by clean-fid, by torch-fidelity where it is installed, and by us.

The same PNG files and the same network for all: the interface of inception-2015-12-05.pt on torchvision's Inception-v3
with random weights, whose cost is that of the real one. clean-fid gives FID, torch-fidelity FID, IS, KID, precision and
recall, we give every metric. One thread each, in one run. Writes <results>/bench/eval.json.
"""

import hashlib
import importlib.util
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from cleanfid import fid
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from PIL import Image
from torch import Tensor, nn
from torchvision.models import inception_v3

from benchmarks import extractors
from benchmarks.metrics import METRICS, Comparison, Reference
from benchmarks.runs import command, options
from reproduce.record import provenance, write_json

IMAGES, REFERENCES = 1000, 100  # generated and real ones
SIDES = 64, 256  # their sizes in pixels
CPU = torch.device("cpu")


class StandIn(nn.Module):
    """Inception-v3 with random weights behind the interface of inception-2015-12-05.pt."""

    def __init__(self):
        super().__init__()
        parts = dict(inception_v3(weights=None, aux_logits=False, init_weights=False).named_children())
        self.layers = nn.Sequential(*(parts[name] for name in parts if name not in ("dropout", "fc")), nn.Flatten())
        self.output = nn.Linear(2048, 1008)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        features = self.layers((img.float() - 128) / 128)
        return features if return_features else self.output(features)


class Stopwatch(Counter):
    """CPU seconds by stage."""

    def timed(self, stage: str, function: Callable) -> Callable:
        def run(*args, **kwargs):
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self[stage] += time.process_time() - began

        return run

    def split(self, total: float, rest: str) -> dict[str, float]:
        """Seconds of each stage; what no stage claims belongs to `rest`."""
        stages = dict(self) | {rest: self[rest] + total - sum(self.values()), "total": total}
        return {stage: round(seconds, 2) for stage, seconds in stages.items()}


def clean_fid(real: Path, generated: Path, weights: Path) -> dict:
    """FID is None where clean-fid gives up: SciPy's sqrtm can fail when there are fewer images than features."""
    watch, value, error = Stopwatch(), None, {}
    network = InceptionV3W(str(weights.parent), download=False)
    began = time.process_time()
    try:
        with patch.object(fid, "frechet_distance", watch.timed("distance", fid.frechet_distance)):
            value = float(fid.compute_fid(
                str(real), str(generated), num_workers=0, device=CPU, use_dataparallel=False, verbose=False,
                custom_feat_extractor=watch.timed("network", network),
                custom_fn_resize=watch.timed("resize", build_resizer("clean"))))  # fmt: skip
    except ValueError as failure:
        error = {"error": str(failure)}
    return watch.split(time.process_time() - began, "decode and other") | {"fid": value} | error


def ours(real: Path, generated: Path, weights: Path) -> dict:
    watch = Stopwatch()
    with patch.object(extractors, "build_resizer", lambda mode: watch.timed("resize", build_resizer(mode))):
        extractor = extractors.EXTRACTORS["inception"](CPU, weights, weights.parent)
    read = watch.timed("decode", lambda path: torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None])
    began = time.process_time()
    features = [extractor(map(torch.cat, _chunks([*map(read, sorted(folder.iterdir()))])))
                for folder in (real, generated)]  # fmt: skip
    real = watch.timed("other metrics", Reference.of)(features[0].features)
    train = np.arange(REFERENCES) < REFERENCES // 2  # the others are held out, so that every metric can be measured
    pair = Comparison(real, features[1], train, real.features[~train])
    scores = {name: watch.timed("fd" if name == "fd" else "other metrics", metric.measure)(pair).value
              for name, metric in METRICS.items()}  # fmt: skip
    watch["distance"] = watch.pop("fd")
    return watch.split(time.process_time() - began, "network") | {"fid": scores["fd"], "all": scores}


def _chunks(images: list[Tensor], size: int = 32) -> list[list[Tensor]]:
    return [images[i : i + size] for i in range(0, len(images), size)]


def torch_fidelity(real: Path, generated: Path, weights: Path) -> dict:
    from torch_fidelity import calculate_metrics, register_feature_extractor
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as resize

    watch = Stopwatch()

    class Extractor(FeatureExtractorInceptionV3):
        """Its resize, our stand-in: its own network comes with its own weights only."""

        def __init__(self, name, features_list, **kwargs):
            nn.Module.__init__(self)
            self.name, self.features_list, self.network = name, features_list, torch.jit.load(str(weights)).eval()

        def forward(self, x):
            x = watch.timed("resize", resize)(x.float(), size=(299, 299), align_corners=False)
            features = watch.timed("network", self.network)(x, return_features=True)
            found = {"2048": features, "logits_unbiased": features @ self.network.output.weight.T}
            return tuple(found[name] for name in self.features_list)

    name = f"stand-in for {generated.name}"  # one name takes one class, and this one has this call's watch
    register_feature_extractor(name, Extractor)
    began = time.process_time()
    scores = calculate_metrics(
        input1=str(generated), input2=str(real), fid=True, isc=True, kid=True, prc=True, kid_subset_size=REFERENCES,
        feature_extractor=name, cuda=False, cache=False, verbose=False, batch_size=32)  # fmt: skip
    total = time.process_time() - began
    return watch.split(total, "distance and decode") | {"fid": scores["frechet_inception_distance"]}


def images(folder: Path, count: int, side: int, seed: int) -> Path:
    """PNG files of smooth colour noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:05d}.png")
    return folder


def stand_in(folder: Path) -> Path:
    """The network's file, which from here on passes for Inception's."""
    torch.manual_seed(0)
    path, network = folder / extractors.INCEPTION.file, StandIn()
    for norm in filter(lambda module: isinstance(module, nn.BatchNorm2d), network.modules()):
        norm.momentum = 1.0  # statistics of the batch below, so that signals pass through all layers at scale 1
    network.train()(torch.rand(4, 3, 299, 299) * 255)
    torch.jit.script(network.eval().requires_grad_(False)).save(str(path))
    content = path.read_bytes()
    extractors.INCEPTION = extractors.Weights(path.name, "here", len(content), hashlib.sha256(content).hexdigest())
    return path


TOOLS = {"clean-fid": clean_fid, "ours": ours} | (
    {"torch-fidelity": torch_fidelity} if importlib.util.find_spec("torch_fidelity") else {})


def main() -> None:
    results = Path(options(sys.argv[1:], {"RESULTS": "results"})["RESULTS"])
    torch.set_num_threads(1)
    table = {}
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        weights = stand_in(Path(place))
        for side in SIDES:
            sets = (images(Path(place) / f"real{side}", REFERENCES, side, 0),
                    images(Path(place) / f"generated{side}", IMAGES, side, 1))
            table[side] = {}
            for tool, run in TOOLS.items():
                row = table[side][tool] = run(*sets, weights)
                print(f"{side:4d} px  {tool:15s}", {key: row[key] for key in row if key != "all"}, flush=True)
    write_json(results / "bench" / "eval.json",
               {"command": "make bench-eval", "images": IMAGES, "references": REFERENCES, "cpu_seconds": table,
                "provenance": provenance(CPU)})  # fmt: skip


if __name__ == "__main__":
    command(main)
