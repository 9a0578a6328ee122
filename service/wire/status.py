"""One table from the engine's errors to gRPC status codes, and the rich details both sides use.

A call that fails carries a ``google.rpc.Status``: ``ErrorInfo`` (reason is the error's stable code
in upper case, domain is ``coldspot``), ``BadRequest`` where the field is known and ``RetryInfo`` where trying again
makes sense. The client turns it back into the same error class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from engine import errors
from engine.errors import ColdspotError, entry_for

DOMAIN: Final = "coldspot"
MAX_MESSAGE_LENGTH: Final = 1500
"""Longest message that is sent, in characters: all details together must fit into 8 KiB of trailers."""

_STATUS_CODES: Final[dict[type[ColdspotError], grpc.StatusCode]] = {
    errors.ColdspotError: grpc.StatusCode.INTERNAL,
    errors.InputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.StateError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    errors.ChecksumError: grpc.StatusCode.DATA_LOSS,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.CapacityError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.InterruptedAssessmentError: grpc.StatusCode.ABORTED,
    errors.ClientCancelledError: grpc.StatusCode.CANCELLED,
    errors.DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ModelError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelInputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BackendError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SelfTestError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ServiceUnavailableError: grpc.StatusCode.UNAVAILABLE,
}
"""Only the classes whose status differs from that of their parent."""

_WITHOUT_DETAILS: Final[dict[grpc.StatusCode, type[ColdspotError]]] = {
    grpc.StatusCode.UNAVAILABLE: errors.ServiceUnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.CANCELLED: errors.ServiceUnavailableError,  # this client never cancels: it was dropped
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
}
"""What a status means that gRPC itself made."""


def error_classes(root: type[ColdspotError] = ColdspotError) -> Iterator[type[ColdspotError]]:
    """Yield every class of the engine's error tree, the root first."""
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


def status_code_of(kind: type[ColdspotError]) -> grpc.StatusCode:
    """Return the gRPC status of an error class."""
    return entry_for(kind, _STATUS_CODES)


def reason_of(kind: type[ColdspotError]) -> str:
    """Return the reason by which ``ErrorInfo`` names an error class: its code, as AIP-193 wants it."""
    return kind.code.upper()


def rich_status(error: ColdspotError) -> status_pb2.Status:
    """Return the status that carries an error to the client, with its details."""
    code: int = status_code_of(type(error)).value[0]
    message = str(error)
    if len(message) > MAX_MESSAGE_LENGTH:
        message = message[:MAX_MESSAGE_LENGTH] + "…"
    status = status_pb2.Status(code=code, message=message)
    _attach(status, error_details_pb2.ErrorInfo(reason=reason_of(type(error)), domain=DOMAIN))
    if isinstance(error, errors.InvalidRequestError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=message[:200])
        _attach(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.CapacityError):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        _attach(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def error_from_call(call: grpc.RpcError) -> ColdspotError:
    """Return the error that a failed call carries, as the class the server raised."""
    if not isinstance(call, grpc.Call):
        return errors.ServiceError(f"the call failed: {call}")
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # details and status contradict each other: somebody in between rewrote them
        status = None
    if status is not None:
        return _error_from_status(status)
    code, details = call.code(), call.details() or "no details"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.CapacityError(f"the service is full: {details}", retry_after_s=1.0)
    kind = _WITHOUT_DETAILS.get(code, errors.ServiceError)
    return kind(f"{code.name.lower().replace('_', ' ')}: {details}")


def came_from_service(call: grpc.RpcError) -> bool:
    """Whether a service ended the call, not gRPC on the way to it."""
    try:
        return isinstance(call, grpc.Call) and rpc_status.from_call(call) is not None
    except ValueError:
        return False


def _error_from_status(status: status_pb2.Status) -> ColdspotError:
    reason, field, retry_after_s = "", "", 1.0
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason = info.reason
        elif detail.Unpack(bad_request) and bad_request.field_violations:
            field = bad_request.field_violations[0].field
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    kind = {reason_of(known): known for known in error_classes()}.get(reason, errors.ServiceError)
    if issubclass(kind, errors.CapacityError):
        return kind(status.message, retry_after_s)
    if issubclass(kind, errors.InvalidRequestError):
        return kind(status.message, field)
    code = code_pb2.Code.Name(code_pb2.Code.ValueType(status.code)) if not reason else ""
    return kind(f"{code} {status.message}".strip())


def _attach(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
