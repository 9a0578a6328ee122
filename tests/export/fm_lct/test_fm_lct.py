"""FM-LCT: the checkpoint whole or not at all, the network by its definition, the graph equal to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")

from engine.errors import (  # noqa: E402 - after the skip
    InvalidRequestError,
    ParityError,
    SourceModelError,
    UntrustedPickleError,
)
from engine.files.reading import read_ct, read_mask  # noqa: E402
from engine.manifest import load_bundle  # noqa: E402
from engine.response.features import LungFeatureModel  # noqa: E402
from engine.runtime.onnx_session import OnnxSession  # noqa: E402
from export.fm_lct import bundle as module  # noqa: E402
from export.fm_lct.bundle import export_fm_lct, fm_lct_session  # noqa: E402
from export.fm_lct.checkpoint import load_fm_lct  # noqa: E402
from export.fm_lct.graph import transformer_to_onnx  # noqa: E402
from export.fm_lct.vision_transformer import (  # noqa: E402
    VisionTransformer,
    VisionTransformerPlan,
    position_embedding,
)
from export.parity import sample_lesions  # noqa: E402
from export.parity.comparison import compare_sessions, require_parity  # noqa: E402
from tests.support.feature_models import lesion  # noqa: E402
from tests.support.fm_lct_checkpoints import SMALL, network, patches, save  # noqa: E402

DATA = os.environ.get("COLDSPOT_DATA")
FULL = VisionTransformerPlan()
PREFIXES = ("module.base_encoder.", "base_encoder.", "encoder.")
State = dict[str, Any]


def published(made: VisionTransformer, prefix: str) -> State:
    """A checkpoint as the training programs write it, with what is not the encoder around it."""
    state: State = {f"{prefix}{name}": weight for name, weight in made.state_dict().items()}
    width = made.plan.width
    for name in ("head.weight", "fc_norm.weight", "fc_norm.bias"):
        state[f"{prefix}{name}"] = torch.zeros(width)
    if prefix == "encoder.":
        state["encoder_pos_embed"] = made.pos_embed[:, 1:]
        state["decoder_pos_embed"] = torch.zeros(1, 8, width)
        state["decoder.blocks.0.norm1.weight"] = torch.ones(width)
        state["mask_token"] = torch.zeros(1, 1, width)
    else:
        state[f"{prefix}pos_embed"] = made.pos_embed
    if "base_" in prefix:
        momentum = prefix.replace("base_", "momentum_")
        state |= {f"{momentum}{name}": torch.randn_like(w) for name, w in made.state_dict().items()}
        state[f"{momentum}pos_embed"] = made.pos_embed
    return state


@pytest.mark.parametrize("prefix", [*PREFIXES, ""])
def test_any_of_the_published_prefixes_loads_and_gives_the_same_features(prefix: str, tmp_path: Path) -> None:
    made = network()
    state = published(made, prefix)
    loaded = load_fm_lct(save(state, tmp_path / "checkpoint.pth.tar"), SMALL)
    for given in patches():
        with torch.inference_mode():
            image = torch.from_numpy(given["patch"])
            np.testing.assert_array_equal(loaded(image), made(image))


def test_a_bare_state_dict_and_half_precision_load_too(tmp_path: Path) -> None:
    state = {name: w.half() for name, w in published(network(), "base_encoder.").items()}
    torch.save(state, tmp_path / "bare.pth.tar")
    loaded = load_fm_lct(tmp_path / "bare.pth.tar", SMALL)
    assert {weight.dtype for weight in loaded.state_dict().values()} == {torch.float32}


def without(key: str) -> Callable[[State], None]:
    return lambda state: state.pop(key)


def with_(key: str, value: Any) -> Callable[[State], None]:
    return lambda state: state.update({key: value})


BLOCK = "base_encoder.blocks.1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(f"{BLOCK}.attn.qkv.bias"), r"missing blocks\.1\.attn\.qkv\.bias; unexpected nothing"),
        (without("base_encoder.cls_token"), "missing cls_token"),
        (without("base_encoder.norm.weight"), "missing norm.weight"),
        (with_("base_encoder.blocks.2.norm1.weight", torch.ones(48)), "unexpected blocks.2.norm1.weight"),
        (with_(f"{BLOCK}.mlp.fc1.weight", torch.zeros(192, 47)), r"has the shape \(192, 47\)"),
        (with_(f"{BLOCK}.mlp.fc1.bias", torch.full((192,), torch.nan)), "no finite"),
        (with_(f"{BLOCK}.mlp.fc1.bias", torch.zeros(192, dtype=torch.int64)), "no finite floating-point"),
        (with_("base_encoder.pos_embed", torch.zeros(1, 9, 48)), "same row for every patch"),
        (with_("encoder_pos_embed", torch.zeros(1, 5, 48)), r"encoder_pos_embed has the shape \(1, 5, 48\)"),
        (with_("encoder.patch_embed.proj.weight", torch.zeros(1)), "several fit"),
        (without("base_encoder.patch_embed.proj.weight"), "names begin with base_encoder, momentum_encoder"),
    ],
)
def test_anything_but_the_whole_encoder_is_refused(
    change: Callable[[State], None], said: str, tmp_path: Path
) -> None:
    state = published(network(), "base_encoder.")
    change(state)
    with pytest.raises(SourceModelError, match=said):
        load_fm_lct(save(state, tmp_path / "checkpoint.pth.tar"), SMALL)


def test_another_prefix_is_refused_where_the_published_loader_runs_on_random_weights(tmp_path: Path) -> None:
    state = {f"model.{name}": w for name, w in network().state_dict().items()}
    with pytest.raises(SourceModelError, match="names begin with model"):
        load_fm_lct(save(state, tmp_path / "a.pth.tar"), SMALL)
    torch.save([1, 2], tmp_path / "list.pth.tar")
    with pytest.raises(SourceModelError, match="no state dict"):
        load_fm_lct(tmp_path / "list.pth.tar", SMALL)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/coldspot-was-called"),)  # noqa: S108 - never called


def test_a_hostile_checkpoint_is_refused_and_nothing_of_it_is_called(tmp_path: Path) -> None:
    torch.save({"state_dict": {"encoder.x": Hostile()}}, tmp_path / "hostile.pth.tar")
    with pytest.raises(UntrustedPickleError):
        load_fm_lct(tmp_path / "hostile.pth.tar", SMALL)
    assert not Path("/tmp/coldspot-was-called").exists()  # noqa: S108


def test_the_position_embedding_is_the_published_formula() -> None:
    found = position_embedding(3, 24)[0].numpy()
    assert found.shape == (28, 24)
    assert (found[0] == 0).all()
    for token, (z, y, x) in enumerate(np.ndindex(3, 3, 3), start=1):
        rows = [
            [wave(place / 10000 ** (k / 4)) for k in range(4)]
            for place in (z, y, x)
            for wave in (np.sin, np.cos)
        ]
        np.testing.assert_allclose(found[token], np.ravel(rows), atol=1e-6)


def test_the_network_is_what_the_papers_describe() -> None:
    """Once more in NumPy, with loops where the network has reshapes."""
    made = network()
    weights = {name: w.double().numpy() for name, w in made.state_dict().items()}
    image = patches(count=1)[0]["patch"][:1]
    tokens = [weights["cls_token"][0, 0]]
    kernel = weights["patch_embed.proj.weight"].reshape(48, -1)
    for z, y, x in np.ndindex(2, 2, 2):
        cube = image[0, 0, 8 * z : 8 * z + 8, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].ravel()
        tokens.append(kernel @ cube + weights["patch_embed.proj.bias"])
    rows = np.array(tokens) + made.pos_embed[0].double().numpy()

    def norm(name: str, values: np.ndarray) -> np.ndarray:
        mean, variance = values.mean(axis=1, keepdims=True), values.var(axis=1, keepdims=True)
        scaled = (values - mean) / np.sqrt(variance + 1e-6)
        return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"])

    def linear(name: str, values: np.ndarray) -> np.ndarray:
        return np.asarray(values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    def gelu(values: np.ndarray) -> np.ndarray:
        from scipy.special import erf

        return np.asarray(values * (1 + erf(values / np.sqrt(2))) / 2)

    for i in range(2):
        joined = linear(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", rows))
        mixed = np.zeros_like(rows)
        for head in range(4):
            own = slice(12 * head, 12 * head + 12)
            query, key, value = (joined[:, 48 * part : 48 * part + 48][:, own] for part in range(3))
            share = np.exp(query @ key.T / np.sqrt(12))
            mixed[:, own] = share / share.sum(axis=1, keepdims=True) @ value
        rows = rows + linear(f"blocks.{i}.attn.proj", mixed)
        inner = gelu(linear(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", rows)))
        rows = rows + linear(f"blocks.{i}.mlp.fc2", inner)
    with torch.inference_mode():
        found = made(torch.from_numpy(image))[0].numpy()
    np.testing.assert_allclose(found, norm("norm", rows)[0], atol=1e-4)


def test_the_full_network_has_the_published_sizes() -> None:
    state = VisionTransformer(VisionTransformerPlan(depth=1)).state_dict()
    block = sum(weight.numel() for name, weight in state.items() if name.startswith("blocks.0."))
    around = sum(weight.numel() for name, weight in state.items() if not name.startswith("blocks."))
    assert around + 12 * block == 85_450_752
    assert len(state) == 1 + 2 + 12 + 2
    assert tuple(state["patch_embed.proj.weight"].shape) == (768, 1, 8, 8, 8)
    assert tuple(state["blocks.0.attn.qkv.weight"].shape) == (2304, 768)
    assert (FULL.tokens, FULL.depth) == (217, 12)


@pytest.mark.parametrize("sizes", [{"image_size": 17}, {"width": 50}, {"heads": 5}])
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="whole patches"):
        VisionTransformerPlan(**{"image_size": 16, "patch_size": 8, "width": 48, "heads": 4, **sizes})


def test_the_graph_is_deterministic_clean_and_equal_to_the_network() -> None:
    made = network()
    content = transformer_to_onnx(made, name="small", metadata={"recipe": "none"})
    assert content == transformer_to_onnx(made, name="small", metadata={"recipe": "none"})
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert (kinds.count("LayerNormalization"), kinds.count("Softmax")) == (5, 2)
    assert [out.name for out in model.graph.output] == ["features"]
    with OnnxSession(content) as session:
        assert session.inputs[0].shape == ("batch", 1, 16, 16, 16)
        assert session.outputs[0].shape == ("batch", 48)
        report = compare_sessions(
            fm_lct_session(made), session, patches(), tolerance=1e-5, measured_on="noise", kind="features"
        )
        both = session.run(patches()[0])["features"]
        alone = [session.run({"patch": patch[None]})["features"][0] for patch in patches()[0]["patch"]]
    assert require_parity(report).cases == 4
    assert report.max_abs < 1e-5
    np.testing.assert_allclose(both, alone, atol=1e-5)


def test_openvino_agrees_too() -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: make setup-export")
    from engine.runtime.openvino_session import OpenVinoSession

    made = network()
    with OpenVinoSession(transformer_to_onnx(made, name="small", metadata={})) as session:
        report = compare_sessions(
            fm_lct_session(made), session, patches(), tolerance=1e-5, measured_on="noise", kind="features"
        )
    require_parity(report)


@pytest.fixture
def quick_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """One simple lesion, whatever data there are."""
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    monkeypatch.setattr(sample_lesions, "simulated_lesions", lambda: [lesion()])


@pytest.mark.usefixtures("quick_phantoms")
def test_a_bundle_is_exported_measured_and_used(tmp_path: Path) -> None:
    made = network()
    checkpoint = save(published(made, "module.base_encoder."), tmp_path / "lung.pth.tar")
    seen: list[float] = []
    out = export_fm_lct(
        checkpoint,
        tmp_path / "fm-lct" / "1.0.0",
        recipe="zscore_patch",
        roi_only=True,
        provenance="a test",
        plan=SMALL,
        on_progress=lambda _what, share: seen.append(share),
    )
    assert (seen[0], seen[-1], sorted(seen)) == (0.0, 1.0, seen)
    bundle = load_bundle(out)
    manifest = bundle.manifest
    assert manifest.features is not None
    assert (manifest.features.recipe, manifest.features.roi_only) == ("zscore_patch", True)
    assert set(manifest.variants) == {"fp32", "fp16_mixed"}
    assert [report.passed for report in manifest.parity_reports] == [True, True]
    assert all("not of real CT" in report.measured_on for report in manifest.parity_reports)
    assert "a test; lung.pth.tar, SHA-256" in manifest.provenance
    with LungFeatureModel.load(out) as model, LungFeatureModel.load(out, precision="fp16_mixed") as half:
        found = model.features(*lesion())
        coarse = half.features(*lesion())
    assert found.shape == (48,)
    np.testing.assert_allclose(found, coarse, atol=0.1)
    with pytest.raises(InvalidRequestError, match="exists already"):
        export_fm_lct(checkpoint, out, recipe="zscore_patch", plan=SMALL)


@pytest.mark.usefixtures("quick_phantoms")
def test_a_graph_that_differs_from_its_source_makes_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save(published(network(), "encoder."), tmp_path / "lung.pth.tar")
    other = transformer_to_onnx(network(seed=1), name="other", metadata={})
    monkeypatch.setattr(module, "transformer_to_onnx", lambda *_, **__: other)
    with pytest.raises(ParityError, match="largest cosine distance"):
        export_fm_lct(checkpoint, tmp_path / "out", recipe="hu_-1024_3072", plan=SMALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_the_full_network_loads_from_every_prefix_alike(tmp_path: Path) -> None:
    made = network(FULL)
    given = torch.from_numpy(patches(FULL, count=1)[0]["patch"][:1])
    with torch.inference_mode():
        expected = made(given)
        for prefix in PREFIXES:
            path = save(published(made, prefix), tmp_path / "lung_CT_checkpoint.pth.tar")
            np.testing.assert_array_equal(load_fm_lct(path)(given), expected)
    state = published(made, PREFIXES[0])
    del state[f"{PREFIXES[0]}blocks.7.mlp.fc2.bias"]
    with pytest.raises(SourceModelError, match=r"missing blocks\.7\.mlp\.fc2\.bias"):
        load_fm_lct(save(state, tmp_path / "broken.pth.tar"))


@pytest.mark.acceptance
@pytest.mark.timeout(900)
@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no real CT to read")
def test_the_full_network_on_real_ct(tmp_path: Path) -> None:
    checkpoint = save(published(network(FULL), "encoder."), tmp_path / "lung_CT_checkpoint.pth.tar")
    out = export_fm_lct(checkpoint, tmp_path / "bundle", recipe="hu_-1024_3072")
    reports = load_bundle(out).manifest.parity_reports
    assert all("real CT: ct-lidc0314, ct-pyradiomics-lung1" in report.measured_on for report in reports)
    assert (reports[0].cosine_distance or 0) <= 1e-5
    ct = read_ct(Path(DATA or "") / "ct-lidc0314/ct_right_lung.nii.gz")
    mask = read_mask(Path(DATA or "") / "ct-lidc0314/nodule_reader1.nii.gz", ct, "nodule")
    with LungFeatureModel.load(out) as model:
        assert model.features(ct, mask).shape == (768,)
