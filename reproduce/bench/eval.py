"""`make bench-eval`: CPU seconds of an evaluation by clean-fid, by torch-fidelity where it is installed, and by us.

The same PNG files and the same network for all: the interface of inception-2015-12-05.pt on torchvision's Inception-v3
with random weights, whose cost is that of the real one. clean-fid gives FID, torch-fidelity FID, IS, KID, precision and
recall, we give every metric. One thread each, in one run. Writes <results>/bench/eval.json.
"""

import hashlib
import importlib.util
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
from benchmarks.runs import command
from reproduce.bench.harness import CPU, begun, write

IMAGES, REFERENCES = 1000, 100  # generated and real ones
SIDES = 64, 256  # their sizes in pixels


class StandIn(nn.Module):
    """Inception-v3 with random weights behind the interface of inception-2015-12-05.pt."""

    def __init__(self):
        super().__init__()
        network = inception_v3(weights=None, aux_logits=False, init_weights=False)
        layers = [layer for name, layer in network.named_children() if name not in ("dropout", "fc")]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.output = nn.Linear(2048, 1008)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        features = self.layers((img.float() - 128) / 128)
        if return_features:
            return features
        return self.output(features)


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
        """Seconds of each stage; those that no stage claims belong to `rest`."""
        stages = dict(self)
        stages[rest] = self[rest] + total - sum(self.values())
        stages["total"] = total
        return {stage: round(seconds, 2) for stage, seconds in stages.items()}


def clean_fid(real: Path, generated: Path, weights: Path) -> dict:
    """FID is None where clean-fid gives up: SciPy's sqrtm can fail when there are fewer images than features."""
    watch = Stopwatch()
    network = watch.timed("network", InceptionV3W(str(weights.parent), download=False))
    outcome: dict = {"fid": None}
    began = time.process_time()
    try:
        resize = watch.timed("resize", build_resizer("clean"))
        with patch.object(fid, "frechet_distance", watch.timed("distance", fid.frechet_distance)):
            value = fid.compute_fid(
                str(real), str(generated), num_workers=0, device=CPU, use_dataparallel=False, verbose=False,
                custom_feat_extractor=network, custom_fn_resize=resize)  # fmt: skip
        outcome["fid"] = float(value)
    except ValueError as failure:
        outcome["error"] = str(failure)
    return watch.split(time.process_time() - began, "decode and other") | outcome


def ours(real: Path, generated: Path, weights: Path) -> dict:
    """Every metric of the suite. Half of the real images are held out, so that all metrics can be measured."""
    watch = Stopwatch()
    with patch.object(extractors, "build_resizer", lambda mode: watch.timed("resize", build_resizer(mode))):
        extractor = extractors.EXTRACTORS["inception"](CPU, weights, weights.parent)
    read = watch.timed("decode", read_image)
    began = time.process_time()
    real_features = extractor(batches(real, read)).features
    generated_features = extractor(batches(generated, read))
    reference = watch.timed("other metrics", Reference.of)(real_features)
    train = np.arange(REFERENCES) < REFERENCES // 2
    pair = Comparison(reference, generated_features, train, reference.features[~train])
    scores = {}
    for name, metric in METRICS.items():
        stage = "other metrics"
        if name == "fd":
            stage = "distance"
        scores[name] = watch.timed(stage, metric.measure)(pair).value
    return watch.split(time.process_time() - began, "network") | {"fid": scores["fd"], "all": scores}


def read_image(path: Path) -> Tensor:
    """The image in a file, uint8 [1, 3, H, W]."""
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None]


def batches(folder: Path, read: Callable[[Path], Tensor]) -> tuple[Tensor, ...]:
    """The images of a folder in batches, uint8 [N, 3, H, W]."""
    return torch.cat([read(path) for path in sorted(folder.iterdir())]).split(32)


def torch_fidelity(real: Path, generated: Path, weights: Path) -> dict:
    from torch_fidelity import calculate_metrics, register_feature_extractor
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as resize

    watch = Stopwatch()

    class Extractor(FeatureExtractorInceptionV3):
        """Its resize, our stand-in: its own network comes with its own weights only."""

        def __init__(self, name, features_list, **kwargs):
            nn.Module.__init__(self)
            self.name, self.features_list = name, features_list
            self.network = torch.jit.load(str(weights)).eval()

        def forward(self, x):
            x = watch.timed("resize", resize)(x.float(), size=(299, 299), align_corners=False)
            features = watch.timed("network", self.network)(x, return_features=True)
            outputs = {"2048": features, "logits_unbiased": features @ self.network.output.weight.T}
            return tuple(outputs[name] for name in self.features_list)

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
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # statistics of the batch below, so that signals pass through all layers at scale 1
    network.train()(torch.rand(4, 3, 299, 299) * 255)
    torch.jit.script(network.eval().requires_grad_(False)).save(str(path))
    content = path.read_bytes()
    extractors.INCEPTION = extractors.Weights(path.name, "here", len(content), hashlib.sha256(content).hexdigest())
    return path


TOOLS = {"clean-fid": clean_fid, "ours": ours}
if importlib.util.find_spec("torch_fidelity"):
    TOOLS["torch-fidelity"] = torch_fidelity


def main() -> None:
    given = begun()
    print(f"each of {', '.join(TOOLS)} measures {IMAGES} images of {' and of '.join(map(str, SIDES))} px: minutes each",
          flush=True)  # fmt: skip
    torch.set_num_threads(1)
    table: dict[int, dict[str, dict]] = {}
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        weights = stand_in(Path(place))
        for side in SIDES:
            real = images(Path(place) / f"real{side}", REFERENCES, side, 0)
            generated = images(Path(place) / f"generated{side}", IMAGES, side, 1)
            table[side] = {}
            for tool, measure in TOOLS.items():
                row = measure(real, generated, weights)
                table[side][tool] = row
                shown = {key: value for key, value in row.items() if key != "all"}
                print(f"{side:4d} px  {tool:15s}", shown, flush=True)
    write("eval", given, {"command": "make bench-eval", "images": IMAGES, "references": REFERENCES,
                          "cpu_seconds": table}, CPU)  # fmt: skip


if __name__ == "__main__":
    command(main)
