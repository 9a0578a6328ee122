"""Writing a bundle: the model, its manifest, and the model card rendered from it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError
from engine.manifest import (
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    MODEL_FILE,
    Bundle,
    Covariate,
    ModelManifest,
    load_bundle,
)

if TYPE_CHECKING:
    from pathlib import Path


def write_bundle(manifest: ModelManifest, model_bytes: bytes, models_folder: Path) -> Bundle:
    """Write ``<models_folder>/<id>/<version>/`` and load it back with every check.

    Parameters
    ----------
    manifest : ModelManifest
        Its ``files`` are replaced by those that are written.
    model_bytes : bytes
        The self-contained ONNX model.
    models_folder : Path

    Raises
    ------
    InvalidRequestError
        If that version is there already: a version never changes.
    """
    folder = models_folder / manifest.id / manifest.version
    if folder.exists():
        raise InvalidRequestError(f"{folder} is there already; give a new version, or remove it yourself")
    card = render_model_card(manifest).encode()
    files = {MODEL_FILE: _sha256(model_bytes), MODEL_CARD_FILE: _sha256(card)}
    complete = ModelManifest.model_validate_json(
        manifest.model_copy(update={"files": files}).model_dump_json()
    )
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(model_bytes)
    (folder / MODEL_CARD_FILE).write_bytes(card)
    text = json.dumps(complete.model_dump(mode="json"), indent=1, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    return load_bundle(folder)


def render_model_card(manifest: ModelManifest) -> str:
    """Render the model card (Markdown); the manifest's file hashes do not appear in it."""
    section = manifest.survival
    demo = (
        ["**Demo model. It has never seen a patient; do not use it for one.**", ""] if manifest.demo else []
    )
    members = f"{section.members} members, each with its own Breslow baseline"
    lines = [
        f"# {manifest.id} {manifest.version}",
        "",
        *demo,
        manifest.description,
        "",
        f"- Intended use: {manifest.intended_use}",
        f"- Fitted on: {manifest.fitted_on}",
        f"- Endpoint: {section.endpoint}, within {_join(section.horizons_months)} months",
        f"- Ensemble: {members}",
        (
            f"- Coverage is complete when TCR is 1 (target: tumor and {section.target_margin_mm:g} mm, "
            f"{'clipped' if section.target_clipped_to_lung else 'not clipped'} to lung)"
        ),
        f"- Radscore: {'used' if section.uses_radscore else 'not used'}",
        f"- Licence: {manifest.licence}",
        f"- Provenance: {manifest.provenance}",
        "",
        "## Inputs",
        "",
        "| Covariate | Unit | Coding | Mean | SD | Training range | Accepted | When missing |",
        "|---|---|---|---|---|---|---|---|",
        *(_covariate_row(covariate) for covariate in section.covariates),
        "",
        "## Measured",
        "",
        "| Figure | Value | On |",
        "|---|---|---|",
        *(
            f"| {figure.name} | {figure.value:.3f} | {figure.measured_on} |"
            for figure in manifest.performance
        ),
        "",
        (
            f"Largest difference from {manifest.parity.source}: {manifest.parity.max_abs_difference:.1e} "
            f"over {manifest.parity.cases} cases (tolerance {manifest.parity.tolerance:g})."
        ),
        "",
        "## Assumptions",
        "",
        *(f"- {assumption}" for assumption in manifest.assumptions),
        "",
    ]
    return "\n".join(lines)


def _covariate_row(covariate: Covariate) -> str:
    """One line of the table of inputs."""
    coding = ", ".join(f"{meaning} = {code:g}" for meaning, code in covariate.coding.items()) or "as given"
    missing = "refused" if covariate.distribution is None else f"averaged ({covariate.distribution.kind})"
    return (
        f"| {covariate.name}: {covariate.description} | {covariate.unit} | {coding} | {covariate.mean:.4g} "
        f"| {covariate.sd:.4g} | {covariate.training_low:g} to {covariate.training_high:g} "
        f"| {covariate.accepted_low:g} to {covariate.accepted_high:g} | {missing} |"
    )


def _join(months: tuple[int, ...]) -> str:
    return ", ".join(str(month) for month in months)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
