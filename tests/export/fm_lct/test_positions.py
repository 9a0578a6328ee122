"""The position table of FM-LCT: the checkpoint's own, whatever it is; sines and cosines where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")

from engine.errors import SourceModelError  # noqa: E402 - after the skip
from engine.manifest import load_bundle  # noqa: E402
from engine.runtime.onnx_session import OnnxSession  # noqa: E402
from export.fm_lct.bundle import export_fm_lct  # noqa: E402
from export.fm_lct.checkpoint import load_fm_lct  # noqa: E402
from export.fm_lct.graph import transformer_to_onnx  # noqa: E402
from export.fm_lct.vision_transformer import VisionTransformer, position_embedding  # noqa: E402
from export.parity import sample_lesions  # noqa: E402
from tests.support.feature_models import lesion  # noqa: E402
from tests.support.fm_lct_checkpoints import SMALL, network, patches, save  # noqa: E402

State = dict[str, Any]
SINES = position_embedding(SMALL.grid, SMALL.width)
NOISE = 0.02 * torch.randn(SINES.shape, generator=torch.Generator().manual_seed(7))
"""As FM-LCT's ``init_weights`` leaves it, class row included."""

IN_ENCODER = ("module.base_encoder.", "base_encoder.", "module.encoder.", "encoder.", "module.", "")
BESIDE_ENCODER = ("module.encoder.", "encoder.")


def placed(table: Any) -> VisionTransformer:
    """The network of the other tests with this table."""
    made = VisionTransformer(SMALL, table)
    made.load_state_dict(network().state_dict())
    return made.eval()


def state_of(prefix: str, table: Any, name: str = "") -> State:
    """A checkpoint with a table under the encoder's own name, or under another."""
    state: State = {f"{prefix}{key}": weight for key, weight in network().state_dict().items()}
    if table is not None:
        state[name or f"{prefix}pos_embed"] = table
    return state


def require_same(found: VisionTransformer, expected: VisionTransformer) -> None:
    """Both networks and the graph give the same features."""
    with (
        OnnxSession(transformer_to_onnx(found, name="small", metadata={})) as session,
        torch.inference_mode(),
    ):
        for given in patches():
            reference = expected(torch.from_numpy(given["patch"])).numpy()
            np.testing.assert_array_equal(found(torch.from_numpy(given["patch"])), reference)
            np.testing.assert_allclose(session.run(given)["features"], reference, atol=1e-5)


@pytest.mark.parametrize("prefix", IN_ENCODER)
def test_the_table_of_a_trainer_is_baked_in(prefix: str, tmp_path: Path) -> None:
    loaded = load_fm_lct(save(state_of(prefix, NOISE), tmp_path / "c.pth.tar"), SMALL)
    assert loaded.position_table == "checkpoint"
    require_same(loaded, placed(NOISE))


@pytest.mark.parametrize("prefix", BESIDE_ENCODER)
@pytest.mark.parametrize("has_class_row", [True, False])
@pytest.mark.parametrize("table", [SINES, NOISE], ids=["sines", "noise"])
def test_the_table_of_a_masked_autoencoder_stands_beside_the_encoder(
    prefix: str, has_class_row: bool, table: Any, tmp_path: Path
) -> None:
    name = f"{prefix.removesuffix('encoder.')}encoder_pos_embed"
    kept = table if has_class_row else table[:, 1:]
    loaded = load_fm_lct(save(state_of(prefix, kept, name), tmp_path / "c.pth.tar"), SMALL)
    with_row = table if has_class_row else torch.cat([torch.zeros_like(table[:, :1]), table[:, 1:]], dim=1)
    assert loaded.position_table == "checkpoint"
    require_same(loaded, placed(with_row))


@pytest.mark.parametrize("prefix", IN_ENCODER)
def test_without_a_table_it_is_sines_and_cosines(prefix: str, tmp_path: Path) -> None:
    loaded = load_fm_lct(save(state_of(prefix, None), tmp_path / "c.pth.tar"), SMALL)
    assert loaded.position_table == "sine_cosine"
    require_same(loaded, placed(SINES))
    with torch.inference_mode():
        image = torch.from_numpy(patches()[0]["patch"])
        assert float((loaded(image) - placed(NOISE)(image)).abs().max()) > 1e-3


def test_the_tables_of_momentum_encoder_and_decoder_are_not_the_encoders(tmp_path: Path) -> None:
    state = state_of("base_encoder.", NOISE)
    state["momentum_encoder.pos_embed"] = SINES
    state["decoder_pos_embed"] = torch.zeros(1, 8, 24)
    require_same(load_fm_lct(save(state, tmp_path / "c.pth.tar"), SMALL), placed(NOISE))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (torch.zeros_like(SINES), "same row for every patch"),
        (SINES[:, :1].expand_as(SINES).contiguous(), "same row for every patch"),
        (SINES[:, 1:], "has the shape"),
        (position_embedding(3, 48), "has the shape"),
        (torch.full_like(SINES, torch.nan), "no finite"),
        (SINES.to(torch.int64), "no finite floating-point"),
    ],
)
def test_a_table_that_is_none_is_refused(table: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(SourceModelError, match=said):
        load_fm_lct(save(state_of("base_encoder.", table), tmp_path / "c.pth.tar"), SMALL)


def test_two_tables_that_differ_are_refused_and_two_that_agree_are_one(tmp_path: Path) -> None:
    state = state_of("encoder.", NOISE)
    state["encoder_pos_embed"] = SINES
    with pytest.raises(SourceModelError, match="several position tables that differ"):
        load_fm_lct(save(state, tmp_path / "a.pth.tar"), SMALL)
    state["encoder_pos_embed"] = NOISE
    require_same(load_fm_lct(save(state, tmp_path / "b.pth.tar"), SMALL), placed(NOISE))


@pytest.mark.parametrize("table", [NOISE, None], ids=["own", "none"])
def test_the_manifest_and_the_card_say_which_table_it_is(
    table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    monkeypatch.setattr(sample_lesions, "simulated_lesions", lambda: [lesion()])
    checkpoint = save(state_of("base_encoder.", table), tmp_path / "c.pth.tar")
    out = export_fm_lct(checkpoint, tmp_path / "out", recipe="zscore_patch", precisions=("fp32",), plan=SMALL)
    section = load_bundle(out).manifest.features
    card = (out / "MODEL_CARD.md").read_text()
    assert section is not None
    if table is None:
        assert section.position_table == "sine_cosine"
        assert "Position table: sines and cosines" in card
        assert "draws a random one at every start" in card
    else:
        assert section.position_table == "checkpoint"
        assert "Position table: the checkpoint's own" in card
