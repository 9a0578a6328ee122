"""The manifest itself: one model, and the section of its kind."""

from __future__ import annotations

import json
import math
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from engine.manifest.common import PerformanceFigure, Section, Sha256, TensorSpec, Text
from engine.manifest.features import FeatureSection
from engine.manifest.parity import ParityReport
from engine.manifest.segmentation import SegmentationSection
from engine.manifest.survival import Parity, SurvivalSection

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
MODEL_CARD_FILE = "MODEL_CARD.md"

SIMULATED_COHORT = "simulated cohort"
"""The words that stand beside every percentage of a model that never saw a patient."""

DEMO_MODEL = "demo model"
"""The words that stand beside every segmentation by a model that is not meant for a patient."""

Precision: TypeAlias = Literal["fp32", "fp16_mixed", "int8"]
Variants: TypeAlias = dict[Precision, Annotated[tuple[Text, ...], Field(min_length=1)]]
ModelKind: TypeAlias = Literal["survival", "segmentation", "features"]


_OFTEN_LEFT_OUT = ("variants", "parity", "parity_reports", "survival", "segmentation", "features")


def _reference_alone() -> Variants:
    """One network, in the reference precision."""
    return {"fp32": (MODEL_FILE,)}


class ModelManifest(Section):
    """Everything that is needed to use a model rightly.

    Parameters
    ----------
    kind : str
        Says which of the sections ``survival``, ``segmentation`` and ``features`` is there.
    files : dict of str to str
        SHA-256 of every file of the bundle but the manifest and the model card, which its seal names.
    variants : dict of str to tuple of str
        Files of the network by precision, one for each member of an ensemble (fold).
    parity : Parity, optional
        Of a survival model, with cases for the bedside to repeat.
    parity_reports : tuple of ParityReport
        Of the other kinds, at least one; none that was not passed.
    """

    schema_version: Literal[1]
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    kind: ModelKind
    description: Text
    intended_use: Text
    demo: bool
    fitted_on: Text
    licence: Text
    provenance: Text
    assumptions: tuple[Text, ...] = ()
    performance: tuple[PerformanceFigure, ...] = ()
    files: dict[str, Sha256]
    variants: Variants = Field(default_factory=_reference_alone)
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    parity: Parity | None = None
    parity_reports: tuple[ParityReport, ...] = ()
    survival: SurvivalSection | None = None
    segmentation: SegmentationSection | None = None
    features: FeatureSection | None = None

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out sections of other kinds and what is as it is without being said."""
        written: dict[str, Any] = inner(self)
        for name in _OFTEN_LEFT_OUT:
            default = type(self).model_fields[name].get_default(call_default_factory=True)
            if getattr(self, name) == default:
                del written[name]
        return written

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            # A normal form without "." and "//" leaves one name for one file.
            plain = str(path) == name and "\\" not in name and "\0" not in name
            if not plain or path.is_absolute() or ".." in path.parts or name in {"", "."}:
                raise ValueError(f"file name {name!r} leaves the bundle or is not in its plain form")
        if MODEL_FILE not in files or MANIFEST_FILE in files:
            raise ValueError(f"files must list {MODEL_FILE}, and cannot list {MANIFEST_FILE} itself")
        return files

    @model_validator(mode="after")
    def _has_the_section_of_its_kind(self) -> Self:
        sections = {
            "survival": self.survival,
            "segmentation": self.segmentation,
            "features": self.features,
        }
        for kind, section in sections.items():
            if (section is None) == (kind == self.kind):
                word = "needs" if section is None else "cannot have"
                raise ValueError(f"a {self.kind} model {word} the section {kind}")
        if (self.parity is None) == (self.kind == "survival"):
            word = "needs" if self.parity is None else "cannot have"
            raise ValueError(f"a {self.kind} model {word} the section parity")
        if self.kind != "survival" and not self.parity_reports:
            raise ValueError(f"a {self.kind} model needs at least one of parity_reports")
        if not all(report.passed for report in self.parity_reports):
            raise ValueError("a model that differs from its source (parity_reports) is not a model to use")
        return self

    @model_validator(mode="after")
    def _says_what_it_was_fitted_on(self) -> Self:
        words = SIMULATED_COHORT if self.kind == "survival" else DEMO_MODEL
        if self.demo and words not in self.fitted_on:
            raise ValueError(f"a demo model's fitted_on must contain {words!r}")
        if not self.demo and "simulated" in self.fitted_on.lower():
            raise ValueError("a model fitted on simulated cases must be marked as a demo")
        if not self.demo and DEMO_MODEL in self.fitted_on.lower():
            raise ValueError(f"a {DEMO_MODEL} must be marked as a demo")
        return self

    @model_validator(mode="after")
    def _variants_are_files(self) -> Self:
        if MODEL_FILE not in self.variants.get("fp32", ()):
            raise ValueError(f"{MODEL_FILE} must be among the variants of fp32, the reference precision")
        names = [name for members in self.variants.values() for name in members]
        if len(set(names)) != len(names) or not set(names) <= set(self.files):
            raise ValueError("a variant is listed twice, or is not among the files")
        if len({len(members) for members in self.variants.values()}) != 1:
            raise ValueError("every precision must have the same number of ensemble members")
        return self

    @model_validator(mode="after")
    def _reference_outputs_fit(self) -> Self:
        if self.survival is None or self.parity is None:
            return self
        for output in self.parity.reference_outputs:
            if len(output.covariates) != len(self.survival.covariates):
                raise ValueError("a reference output does not have a value for each covariate")
            if len(output.log_risk) != self.survival.members:
                raise ValueError("a reference output does not have a log-risk for each member")
            if not math.isfinite(sum(output.log_risk)):
                raise ValueError("a reference output is not finite")
        return self


def manifest_text(manifest: ModelManifest) -> bytes:
    """Content of ``manifest.json``; the same manifest gives the same bytes."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()
