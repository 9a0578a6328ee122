"""The model card (Markdown), rendered from the manifest alone: what a person reads, the program executes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from engine import DISCLAIMER
from engine.manifest import (
    ROLES,
    Channel,
    Covariate,
    FeatureSection,
    ModelManifest,
    Parity,
    ParityReport,
    SegmentationSection,
    SurvivalSection,
    manifest_text,
)
from export.figures_in_words import with_interval

_DEMO_SURVIVAL = "**Demo model. It has never seen a patient; do not use it for one.**"
DEMO = "**Demo model. It shows what the software does; do not use it for a patient.**"
RECIPES = {
    "zscore_patch": "mean 0 and standard deviation 1 over the patch (FM-LCT, feature extraction)",
    "hu_-1024_3072": "-1024 to 3072 HU scaled to 0 to 1, clipped (LC-NICER)",
    "window_-450_1500": (
        "clipped to -1200 to 300 HU, then the patch's own range to 0 to 1; largest part of the mask "
        "(FM-LCT, fine-tuning)"
    ),
}


_POSITION_TABLES = {
    "checkpoint": "the checkpoint's own",
    "sine_cosine": "sines and cosines along three axes; the checkpoint has no table",
}


def render_model_card(manifest: ModelManifest) -> str:
    """Render the model card.

    Parameters
    ----------
    manifest : ModelManifest
        Of any kind; the card states the digest that it has once it is written.

    Returns
    -------
    str
        Markdown; the same manifest gives the same text.
    """
    if manifest.survival is not None and manifest.parity is not None:
        return _survival_card(manifest, manifest.survival, manifest.parity)
    lines = [
        *_head(manifest, DEMO),
        f"- Intended use: {manifest.intended_use}",
        f"- {DISCLAIMER}",
        f"- Fitted on: {manifest.fitted_on}",
    ]
    if manifest.segmentation is not None:
        lines += _segmentation_lines(manifest.segmentation)
    if manifest.features is not None:
        lines += _feature_lines(manifest.features)
    lines += [
        *_origin(manifest),
        "",
        *_tensors(manifest),
        *(_normalization(manifest.segmentation) if manifest.segmentation is not None else ()),
        *_variants(manifest),
        *(_measured(manifest) if manifest.performance else ()),
        *_parity(manifest.parity_reports),
        *_assumptions(manifest),
    ]
    return "\n".join(lines)


def _survival_card(manifest: ModelManifest, section: SurvivalSection, parity: Parity) -> str:
    """Card of a risk model."""
    members = f"{section.members} members, each with its own Breslow baseline"
    lines = [
        *_head(manifest, _DEMO_SURVIVAL),
        f"- Intended use: {manifest.intended_use}",
        f"- Fitted on: {manifest.fitted_on}",
        f"- Endpoint: {section.endpoint}, within {_join(section.horizons_months)} {section.time_unit}",
        f"- Ensemble: {members}",
        *_survival_choices(section),
        *_origin(manifest),
        "",
        "## Inputs",
        "",
        "| Covariate | Unit | Coding | Mean | SD | Training range | Accepted | When missing |",
        "|---|---|---|---|---|---|---|---|",
        *(_covariate_row(covariate) for covariate in section.covariates),
        "",
        *_measured(manifest),
        (
            f"Largest difference from {parity.source}: {parity.max_abs_difference:.1e} "
            f"over {parity.cases} cases (tolerance {parity.tolerance:g})."
        ),
        "",
        *_assumptions(manifest),
    ]
    return "\n".join(lines)


def _survival_choices(section: SurvivalSection) -> list[str]:
    """How coverage, radiomics, a competing event and calibration enter."""
    lines = []
    if section.target_margin_mm is not None:
        lines.append(
            f"- Coverage is complete when TCR is 1 (target: tumor and {section.target_margin_mm:g} mm, "
            f"{'clipped' if section.target_clipped_to_lung else 'not clipped'} to lung)"
        )
    if section.purpose == "ltp":
        features = "; the signature's features are covariates" if section.uses_signature_features else ""
        lines.append(f"- Radscore: {'used' if section.uses_radscore else 'not used'}{features}")
    if section.signature is not None:
        lines.append(
            f"- Signature: {len(section.signature.features)} features by {section.signature.extractor}"
        )
    if section.competing is not None:
        lines.append(f"- Competing event: {section.competing.event}; risks are cumulative incidences")
    if section.calibration is not None:
        calibration = section.calibration
        slope = with_interval(calibration.slope, calibration.slope_interval_95, 2, level=95)
        lines.append(
            f"- Calibration slope out of fold ({calibration.folds} folds): {slope}; log-risks were multiplied by "
            f"{calibration.slope_applied:.2f}"
        )
    return lines


def _head(manifest: ModelManifest, demo: str) -> list[str]:
    """Title, the demo label where it belongs, and what the model is."""
    label = [demo, ""] if manifest.demo else []
    return [f"# {manifest.id} {manifest.version}", "", *label, manifest.description, ""]


def _origin(manifest: ModelManifest) -> list[str]:
    """Where the model comes from, and the digest by which its manifest is told from any other."""
    return [
        f"- Licence: {manifest.licence}",
        f"- Provenance: {manifest.provenance}",
        f"- Manifest: SHA-256 {hashlib.sha256(manifest_text(manifest)).hexdigest()}",
    ]


def _covariate_row(covariate: Covariate) -> str:
    """One line of the table of inputs."""
    coding = ", ".join(f"{meaning} = {code:g}" for meaning, code in covariate.coding.items()) or "as given"
    missing = "refused" if covariate.distribution is None else f"averaged ({covariate.distribution.kind})"
    return (
        f"| {covariate.name}: {covariate.description} | {covariate.unit} | {coding} | {covariate.mean:.4g} "
        f"| {covariate.sd:.4g} | {covariate.training_low:g} to {covariate.training_high:g} "
        f"| {covariate.accepted_low:g} to {covariate.accepted_high:g} | {missing} |"
    )


def _segmentation_lines(section: SegmentationSection) -> list[str]:
    """What is segmented, on which grid, and how a volume is put together from patches."""
    version = {"nnunet_v2": "nnU-Net, version 2", "nnunet_v1": "nnU-Net, version 1"}[section.framework]
    labels = ", ".join(f"{name} = {number}" for name, number in section.labels.items())
    axes = "as they are stored in the file"
    if section.orientation != "as_stored":
        axes = f"turned to the closest {section.orientation.upper()} axes first, labels turned back"
    lines = [
        f"- Purpose: {section.purpose.replace('_', ' ')}",
        f"- Method: {version}",
        f"- Labels: {labels}",
        *_meaning(section),
        (
            f"- Grid of the network: {_by(section.spacing_mm)} mm, patches of {_by(section.patch_shape)} voxels, "
            f"steps of at most {section.step_share:g} patch"
        ),
        f"- Axes of the image: {axes} (see Assumptions)",
        f"- Mirroring: {_mirroring(section)}",
    ]
    if section.regions:
        regions = "; ".join(
            f"{_join(region)} written as {written}"
            for region, written in zip(section.regions, section.regions_class_order, strict=True)
        )
        lines.insert(3, f"- Regions that may overlap, in the order of writing: {regions}")
    return lines


def _mirroring(section: SegmentationSection) -> str:
    """Along which axes patches may be mirrored, and what that means for the figures its authors publish."""
    if not section.mirror_axes:
        return "along no axis, neither here nor in nnU-Net's own predictions"
    return (
        f"may average over patches mirrored along the axes {_join(section.mirror_axes)}. nnU-Net's own figures "
        "(validation, leaderboards) include it; here it is left out unless it is asked for"
    )


def _meaning(section: SegmentationSection) -> list[str]:
    """Which labels an assessment counts, and which not."""
    if section.purpose == "other":
        return []
    names = {number: name for name, number in section.labels.items()}
    counted = "; ".join(
        f"{_join(names[number] for number in section.labels_of(role))} as {role}"
        for role in ROLES[section.purpose]
        if section.labels_of(role)
    )
    ignored = [name for name in section.written_labels if section.labels[name] not in section.counted_labels]
    return [f"- Counted: {counted}", *([f"- Not counted: {_join(ignored)}"] if ignored else [])]


def _normalization(section: SegmentationSection) -> list[str]:
    """Table of channels, and the orders of resampling."""
    resampling = section.resampling
    separately = {None: "if spacings differ by more than 3 times", True: "always", False: "never"}
    order = "normalized, then resampled" if section.framework == "nnunet_v2" else "resampled, then normalized"
    cropped = "cropped to what is not 0, " if section.crop_to_nonzero else ""
    return [
        "## Preparation of the image",
        "",
        f"The CT is {cropped}{order}.",
        "",
        "| Channel | Normalization | Window | Mean | SD |",
        "|---|---|---|---|---|",
        *(_channel_row(channel) for channel in section.channels),
        "",
        (
            f"Resampling ({resampling.method}): image order {resampling.data_order}, logits order "
            f"{resampling.logits_order}; the coarse axis apart (order {resampling.data_order_z} and "
            f"{resampling.logits_order_z}) {separately[resampling.separate_z]}."
        ),
        "",
    ]


def _channel_row(channel: Channel) -> str:
    """One line of the table of channels."""
    if channel.scheme != "ct":
        masked = " within what is not 0" if channel.masked else ""
        return f"| {_cell(channel.name)} | {channel.scheme}{masked} | - | - | - |"
    window = f"{channel.low:g} to {channel.high:g}"
    return f"| {_cell(channel.name)} | {channel.scheme} | {window} | {channel.mean:.4g} | {channel.sd:.4g} |"


def _feature_lines(section: FeatureSection) -> list[str]:
    """How the patch is cut and normalized."""
    outside = "blanked" if section.roi_only else "kept"
    return [
        f"- Recipe: {section.recipe}: {RECIPES[section.recipe]}",
        (
            f"- Patch: the tight box around the mask, averaged onto {_by(section.patch_shape)} voxels "
            f"whatever its spacing is; tissue outside the mask is {outside}"
        ),
        f"- Position table: {_POSITION_TABLES[section.position_table]}",
        f"- Features: {section.feature_count}",
    ]


def _tensors(manifest: ModelManifest) -> list[str]:
    """Inputs and outputs of the network."""
    rows = [("in", spec) for spec in manifest.inputs] + [("out", spec) for spec in manifest.outputs]
    return [
        "## Network",
        "",
        "| Tensor | Name | Type | Shape |",
        "|---|---|---|---|",
        *(f"| {direction} | {spec.name} | {spec.dtype} | {_by(spec.shape)} |" for direction, spec in rows),
        "",
    ]


def _variants(manifest: ModelManifest) -> list[str]:
    """Files by precision."""
    return [
        "| Precision | Files |",
        "|---|---|",
        *(f"| {precision} | {', '.join(names)} |" for precision, names in manifest.variants.items()),
        "",
    ]


def _measured(manifest: ModelManifest) -> list[str]:
    """Table of performance figures."""
    return [
        "## Measured",
        "",
        "| Figure | Value | On |",
        "|---|---|---|",
        *(
            f"| {_cell(figure.name)} | {figure.value:.3f} | {_cell(figure.measured_on)} |"
            for figure in manifest.performance
        ),
        "",
    ]


def _parity(reports: Iterable[ParityReport]) -> list[str]:
    """Table of the comparisons with the source model."""
    return [
        "## Agreement with the source",
        "",
        (
            "| Candidate | Reference | On | Largest | Mean | 99.9 % | Cosine distance | Other label (near ties) "
            "| Least Dice | Tolerance |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_parity_row(report) for report in reports),
        "",
        (
            "Largest, mean and 99.9th percentile of the absolute differences of all outputs. A near tie is a voxel "
            "whose two best logits are less than 0.01 apart in the reference."
        ),
        "",
    ]


def _parity_row(report: ParityReport) -> str:
    """One line of the table of comparisons."""
    distance = "-" if report.cosine_distance is None else f"{report.cosine_distance:.1e}"
    dice = "-" if report.dice is None else f"{report.dice:.5f}"
    flips = "-"
    if report.label_flips is not None:
        flips = f"{report.label_flips} ({report.near_tie_flips or 0}) of {report.voxels}"
    return (
        f"| {_cell(report.candidate)} | {_cell(report.reference)} "
        f"| {_cell(report.measured_on)}, {report.cases} cases "
        f"| {report.max_abs:.1e} | {report.mean_abs:.1e} | {report.p999_abs:.1e} | {distance} | {flips} "
        f"| {dice} | {report.tolerance:g} |"
    )


def _assumptions(manifest: ModelManifest) -> list[str]:
    """What had to be assumed; an empty section is left out unless the card is of a risk model."""
    if not manifest.assumptions and manifest.survival is None:
        return []
    return ["## Assumptions", "", *(f"- {assumption}" for assumption in manifest.assumptions), ""]


def _cell(text: str) -> str:
    """Free text in a table: a bar or a line break would end the cell."""
    return " ".join(text.replace("|", "\\|").split())


def _by(sizes: Iterable[float | str]) -> str:
    return " × ".join(size if isinstance(size, str) else f"{size:g}" for size in sizes)


def _join(values: Iterable[float | str]) -> str:
    return ", ".join(str(value) for value in values)
