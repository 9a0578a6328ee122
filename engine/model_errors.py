"""Errors of model bundles, a branch of the tree in :mod:`engine.errors`, from where they are imported."""

from __future__ import annotations

from engine.error_root import ColdspotError


class ModelError(ColdspotError):
    """A model bundle must not be used."""

    code = "model_error"


class ManifestError(ModelError):
    """A manifest is missing, malformed or contradicts its model."""

    code = "invalid_manifest"


class BundleIntegrityError(ModelError):
    """A file of a bundle is not the one its manifest names."""

    code = "bundle_integrity"


class UntrustedPickleError(ModelError):
    """A checkpoint names something that would be called when it is read: nothing was called."""

    code = "untrusted_pickle"


class SourceModelError(ModelError):
    """A trained model cannot be exported faithfully: part of it is missing, unknown or not supported."""

    code = "source_model"


class PrecisionOverflowError(ModelError):
    """A weight or an activation lies beyond what FP16 can hold."""

    code = "precision_overflow"


class ParityError(ModelError):
    """A network does not give what its reference gives for the same inputs."""

    code = "parity"


class NonFiniteOutputError(ParityError):
    """A network gives NaN or infinity."""

    code = "non_finite_output"


class BlankOutputError(ParityError):
    """A network gives the same value everywhere, or background alone where its reference finds a structure."""

    code = "blank_output"


class EngineBuildError(ModelError):
    """No engine can be built of a network: the builder refuses its graph, or the target."""

    code = "engine_build"


class EnginePlanError(ModelError):
    """A compiled engine (a plan) must not be used."""

    code = "engine_plan"


class PlanIntegrityError(EnginePlanError):
    """A plan or its record was changed, is damaged, or can be written by somebody else."""

    code = "plan_integrity"


class PlanDeviceError(EnginePlanError):
    """A plan was built for another GPU or driver than the one it would run on."""

    code = "plan_device"


class PlanVersionError(EnginePlanError):
    """A plan was built by another library, or another version of it."""

    code = "plan_version"


class PlanModelError(EnginePlanError):
    """A plan was built of another model, precision or batch range than the one asked for."""

    code = "plan_model"


class ModelInputError(ModelError):
    """An input the model cannot take."""

    code = "model_input"
