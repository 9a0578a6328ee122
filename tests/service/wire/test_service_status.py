from __future__ import annotations

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

import engine.errors
from engine.command_line import exit_code_of
from engine.errors import (
    BackendError,
    CapacityError,
    ColdspotError,
    InputError,
    InterruptedAssessmentError,
    InvalidRequestError,
    ModelError,
    PlanDeviceError,
    PlanIntegrityError,
    SelfTestError,
    ServiceError,
    ServiceUnavailableError,
    StateError,
    UnauthenticatedError,
    entry_for,
)
from service.wire import status
from service.wire.status import error_classes, error_from_call, rich_status, status_code_of


class FakeCall(grpc.RpcError, grpc.Call):  # type: ignore[misc]  # grpc ships no types
    """A failed call, as the client sees it."""

    def __init__(self, code: grpc.StatusCode, details: str, sent: status_pb2.Status | None = None) -> None:
        self._code, self._details = code, details
        self._metadata = rpc_status.to_status(sent).trailing_metadata if sent is not None else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> object:
        return self._metadata

    def initial_metadata(self) -> object:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: object) -> bool:
        return False


def over_the_wire(error: ColdspotError) -> ColdspotError:
    sent = rich_status(error)
    code = next(code for code in grpc.StatusCode if code.value[0] == sent.code)
    return error_from_call(FakeCall(code, sent.message, sent))


ALL_CLASSES = sorted(
    {kind for kind in error_classes() if kind.__module__.startswith("engine.")},
    key=lambda kind: kind.__name__,
)


def test_the_tree_was_walked() -> None:
    declared = {
        name
        for name, thing in vars(engine.errors).items()
        if isinstance(thing, type) and issubclass(thing, ColdspotError)
    }
    assert {kind.__name__ for kind in ALL_CLASSES} == declared
    assert len(declared) > 30


EXIT_CODES = {
    2: (InputError, StateError, UnauthenticatedError),
    4: (ModelError,),
    5: (BackendError,),
    6: (CapacityError, InterruptedAssessmentError, ServiceUnavailableError),
    7: (SelfTestError,),
}
"""Exit code of a class and of all below it; 1 for any other."""

STATUS_OF: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.INTERNAL: "ColdspotError ServiceError",
    grpc.StatusCode.INVALID_ARGUMENT: (
        "InputError UnreadableFileError NotCtError MixedSeriesError MissingSliceError "
        "DuplicateSlicePositionError NonUniformSpacingError GantryTiltError "
        "UndecodableTransferSyntaxError LossyCompressionError InvalidGeometryError "
        "PatientMismatchError SameSeriesError AcquiredOutOfOrderError "
        "GridMismatchError EmptyMaskError ClinicalModeError EstimationError CollinearityError "
        "SeparationError RadiomicsError CollapsedTextureError InvalidRequestError ModelInputError"
    ),
    grpc.StatusCode.FAILED_PRECONDITION: (
        "StateError PreconditionError ModelError ManifestError BundleIntegrityError "
        "UntrustedPickleError SourceModelError PrecisionOverflowError ParityError "
        "NonFiniteOutputError BlankOutputError EngineBuildError EnginePlanError "
        "PlanIntegrityError PlanDeviceError PlanVersionError PlanModelError BackendError "
        "SelfTestError"
    ),
    grpc.StatusCode.NOT_FOUND: "NotFoundError",
    grpc.StatusCode.ALREADY_EXISTS: "ConflictError",
    grpc.StatusCode.UNAUTHENTICATED: "UnauthenticatedError",
    grpc.StatusCode.DATA_LOSS: "ChecksumError",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "CapacityError",
    grpc.StatusCode.ABORTED: "InterruptedAssessmentError",
    grpc.StatusCode.CANCELLED: "ClientCancelledError",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DeadlineExceededError",
    grpc.StatusCode.UNAVAILABLE: "ServiceUnavailableError",
}
"""Status of every class of the tree: a change is one of the contract with every client."""


def test_every_class_has_its_status() -> None:
    expected = {name: code for code, names in STATUS_OF.items() for name in names.split()}
    assert {kind.__name__: status_code_of(kind) for kind in ALL_CLASSES} == expected


def test_every_class_has_its_exit_code() -> None:
    for kind in ALL_CLASSES:
        expected = next((code for code, roots in EXIT_CODES.items() if issubclass(kind, roots)), 1)
        assert exit_code_of(kind) == expected, kind


def test_a_class_that_is_not_in_a_table_answers_as_its_nearest_ancestor() -> None:
    table = {ColdspotError: "any", ModelError: "model", PlanIntegrityError: "plan"}
    assert entry_for(PlanIntegrityError, table) == "plan"
    assert entry_for(PlanDeviceError, table) == "model"
    assert entry_for(CapacityError, table) == "any"


@pytest.mark.parametrize("kind", ALL_CLASSES)
def test_every_error_has_a_status_an_exit_code_and_a_way_back(kind: type[ColdspotError]) -> None:
    error = kind("what is wrong", 1.5) if issubclass(kind, CapacityError) else kind("what is wrong")
    assert status_code_of(kind) not in {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN}
    assert exit_code_of(kind) in range(1, 8)
    back = over_the_wire(error)
    assert type(back) is kind
    assert str(back) == "what is wrong"


def test_codes_are_told_apart() -> None:
    codes = [kind.code for kind in ALL_CLASSES]
    assert len(set(codes)) == len(codes)


def test_details_survive_the_wire() -> None:
    back = over_the_wire(CapacityError("full", 2.25))
    assert isinstance(back, CapacityError)
    assert back.retry_after_s == pytest.approx(2.25)
    back_field = over_the_wire(InvalidRequestError("wrong", "header.role"))
    assert isinstance(back_field, InvalidRequestError)
    assert back_field.field == "header.role"


def test_a_long_message_is_cut() -> None:
    back = over_the_wire(InvalidRequestError("ä" * 50_000, "header.role"))
    assert len(str(back)) == status.MAX_MESSAGE_LENGTH + 1
    assert rich_status(InvalidRequestError("ä" * 50_000, "field")).ByteSize() < 7000


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, ServiceUnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, CapacityError),
        (grpc.StatusCode.UNIMPLEMENTED, ServiceError),
    ],
)
def test_statuses_that_grpc_made_itself(code: grpc.StatusCode, kind: type[ColdspotError]) -> None:
    assert type(error_from_call(FakeCall(code, "details"))) is kind


def test_a_status_of_somebody_else() -> None:
    foreign = status_pb2.Status(code=code_pb2.INTERNAL, message="proxy")
    back = error_from_call(FakeCall(grpc.StatusCode.INTERNAL, "proxy", foreign))
    assert type(back) is ServiceError
    assert "INTERNAL proxy" in str(back)
