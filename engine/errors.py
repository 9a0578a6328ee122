"""The errors of Coldspot, one small tree.

::

    ColdspotError
    ├── InputError                      what was sent cannot be used as it is
    │   ├── UnreadableFileError         no reader knows this file, or it is damaged
    │   ├── NotCtError                  an image, but not a CT in HU
    │   ├── MixedSeriesError            slices of more than one series
    │   ├── MissingSliceError           a gap in an otherwise regular series
    │   ├── DuplicateSlicePositionError several slices at one position
    │   ├── NonUniformSpacingError      slice distances differ without a simple gap
    │   ├── GantryTiltError             slices are not stacked along their normal
    │   ├── UndecodableTransferSyntaxError
    │   ├── LossyCompressionError       pixel data were compressed with loss
    │   ├── InvalidGeometryError        spacing, direction or shape make no volume
    │   ├── PatientMismatchError        planning, verification or a mask of different patients
    │   ├── SameSeriesError             one scan as planning and as verification
    │   ├── AcquiredOutOfOrderError     a verification older than its planning
    │   ├── GridMismatchError           a mask that does not lie on its CT
    │   ├── EmptyMaskError              a mask without a voxel
    │   ├── ClinicalModeError           acceptable for research, not in clinical mode
    │   ├── EstimationError             a statistic that this cohort cannot give
    │   │   ├── CollinearityError       covariates that cannot be told apart, or say nothing
    │   │   └── SeparationError         a hazard ratio without bound
    │   ├── RadiomicsError              a zone whose features cannot be computed
    │   │   └── CollapsedTextureError   one or two gray levels: settings or zone without texture
    │   └── InvalidRequestError         a value out of its range, a field left out
    ├── StateError                      the request does not fit what is stored
    │   ├── NotFoundError
    │   ├── PreconditionError           something has to be sent or prepared first
    │   ├── ConflictError               the same request id with other content
    │   └── ChecksumError               bytes are not those the sender announced
    ├── UnauthenticatedError            the service does not know who asks
    ├── CapacityError                   the bounded queue is full; try again later
    ├── InterruptedAssessmentError      stopped between two stages
    │   ├── ClientCancelledError
    │   └── DeadlineExceededError
    ├── ModelError                      a model bundle that must not be used
    │   ├── ManifestError
    │   ├── BundleIntegrityError        a file is not the one the manifest names
    │   ├── UntrustedPickleError        a checkpoint that would run code when read
    │   ├── SourceModelError            a trained model that cannot be exported faithfully
    │   ├── PrecisionOverflowError      a value that FP16 cannot hold
    │   ├── ParityError                 a network that does not answer as its reference does
    │   │   ├── NonFiniteOutputError    NaN or infinity in what it gives
    │   │   └── BlankOutputError        one value everywhere, or background where there is a structure
    │   ├── EngineBuildError            a network of which no engine can be built
    │   ├── EnginePlanError             a compiled engine that must not be used
    │   │   ├── PlanIntegrityError      not the bytes its record names, or others may write it
    │   │   ├── PlanDeviceError         built for another GPU or driver
    │   │   ├── PlanVersionError        built by another version of the library
    │   │   └── PlanModelError          built of another model, precision or batch range
    │   └── ModelInputError             an input the model cannot take
    ├── BackendError                    a device or library that is not there
    ├── SelfTestError                   the appliance measured its own phantom wrongly
    └── ServiceError                    the service failed at something it should be able to do
        └── ServiceUnavailableError     nobody answers, or it is starting or shutting down

Every message says what is wrong, where, and what to do. A number that cannot be trusted is
not an error but a :class:`engine.assessment.verification.Refusal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from engine.error_root import ColdspotError
from engine.model_errors import (
    BlankOutputError,
    BundleIntegrityError,
    EngineBuildError,
    EnginePlanError,
    ManifestError,
    ModelError,
    ModelInputError,
    NonFiniteOutputError,
    ParityError,
    PlanDeviceError,
    PlanIntegrityError,
    PlanModelError,
    PlanVersionError,
    PrecisionOverflowError,
    SourceModelError,
    UntrustedPickleError,
)

__all__ = [
    "BlankOutputError",
    "BundleIntegrityError",
    "ColdspotError",
    "EngineBuildError",
    "EnginePlanError",
    "ManifestError",
    "ModelError",
    "ModelInputError",
    "NonFiniteOutputError",
    "ParityError",
    "PlanDeviceError",
    "PlanIntegrityError",
    "PlanModelError",
    "PlanVersionError",
    "PrecisionOverflowError",
    "SourceModelError",
    "UntrustedPickleError",
]
"""What stands elsewhere and is imported from here; every class below is too."""

_Entry = TypeVar("_Entry")


class InputError(ColdspotError):
    """What was sent cannot be used as it is."""

    code = "input_error"


class UnreadableFileError(InputError):
    """No reader knows this file, or it is damaged."""

    code = "unreadable_file"


class NotCtError(InputError):
    """The image is not a CT in Hounsfield units."""

    code = "not_ct"


class MixedSeriesError(InputError):
    """Slices of more than one series, grid or frame of reference were given together."""

    code = "mixed_series"


class MissingSliceError(InputError):
    """One or more slices are absent from an otherwise regular series."""

    code = "missing_slice"


class DuplicateSlicePositionError(InputError):
    """Several slices lie at the same position."""

    code = "duplicate_slice_position"


class NonUniformSpacingError(InputError):
    """The distances between slices differ, and not by a simple gap."""

    code = "non_uniform_spacing"


class GantryTiltError(InputError):
    """Slices are not stacked along their common normal."""

    code = "gantry_tilt"


class UndecodableTransferSyntaxError(InputError):
    """No installed decoder can read this encoding."""

    code = "undecodable_transfer_syntax"


class LossyCompressionError(InputError):
    """Pixel data were compressed with loss: HU cannot be trusted."""

    code = "lossy_compression"


class InvalidGeometryError(InputError):
    """Spacing, direction or shape do not describe a volume."""

    code = "invalid_geometry"


class PatientMismatchError(InputError):
    """Planning and verification CT, or a mask and its CT, name different patients."""

    code = "patient_mismatch"


class SameSeriesError(InputError):
    """Planning and verification CT are one and the same scan."""

    code = "same_series"


class AcquiredOutOfOrderError(InputError):
    """The verification CT was acquired before the planning CT."""

    code = "acquired_out_of_order"


class GridMismatchError(InputError):
    """A mask does not lie on the grid of its CT."""

    code = "grid_mismatch"


class EmptyMaskError(InputError):
    """A mask has no voxel."""

    code = "empty_mask"


class ClinicalModeError(InputError):
    """An input that is used with a warning elsewhere, and not at all in clinical mode."""

    code = "refused_in_clinical_mode"


class EstimationError(InputError):
    """A statistic cannot be estimated from this cohort: too few cases or events, or no finite answer."""

    code = "not_estimable"


class CollinearityError(EstimationError):
    """Covariates cannot be told apart, or one says nothing about the events."""

    code = "collinear_covariates"


class SeparationError(EstimationError):
    """A covariate orders the events so completely that its hazard ratio has no bound."""

    code = "separation"


class RadiomicsError(InputError):
    """The radiomics features of a zone cannot be computed."""

    code = "radiomics"


class CollapsedTextureError(RadiomicsError):
    """The zone has one or two gray levels: its texture features would describe the settings, not the tissue."""

    code = "collapsed_texture"


class InvalidRequestError(InputError):
    """A value is out of its range, or a required one is missing.

    Parameters
    ----------
    message : str
    field : str, optional
        Which one, as the caller named it (``header.total_bytes``).
    """

    code = "invalid_request"

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class StateError(ColdspotError):
    """The request does not fit what is stored."""

    code = "state_error"


class NotFoundError(StateError):
    """No such case, series or artifact."""

    code = "not_found"


class PreconditionError(StateError):
    """Something has to be sent or prepared first."""

    code = "failed_precondition"


class ConflictError(StateError):
    """The same request id was used before with other content."""

    code = "conflict"


class ChecksumError(StateError):
    """The bytes received are not those the sender announced."""

    code = "checksum_mismatch"


class UnauthenticatedError(ColdspotError):
    """The service asks for a token, and none that it knows was shown."""

    code = "unauthenticated"


class CapacityError(ColdspotError):
    """The bounded queue is full.

    Parameters
    ----------
    message : str
    retry_after_s : float
        When to try again, in seconds.
    """

    code = "at_capacity"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InterruptedAssessmentError(ColdspotError):
    """Work was stopped between two stages."""

    code = "interrupted"


class ClientCancelledError(InterruptedAssessmentError):
    """The client is gone or has cancelled."""

    code = "cancelled"


class DeadlineExceededError(InterruptedAssessmentError):
    """The caller's deadline has passed."""

    code = "deadline_exceeded"


class BackendError(ColdspotError):
    """A device or library that was asked for is not there."""

    code = "backend_unavailable"


class SelfTestError(ColdspotError):
    """The appliance measured its own phantom wrongly."""

    code = "self_test_failed"


class ServiceError(ColdspotError):
    """The service failed at something it should be able to do."""

    code = "service_error"


class ServiceUnavailableError(ServiceError):
    """Nobody answers at the address, or the service is starting or shutting down."""

    code = "unavailable"


def entry_for(kind: type[ColdspotError], table: Mapping[type[ColdspotError], _Entry]) -> _Entry:
    """Return what a table has for an error class, or else for its nearest ancestor in the table.

    A table needs an entry for :class:`ColdspotError` and for every class that differs from its parent.
    """
    return next(table[ancestor] for ancestor in kind.__mro__ if ancestor in table)
