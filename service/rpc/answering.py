"""How every call ends: with its answer, or with a rich status that leaks nothing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from grpc_status import rpc_status

from engine.errors import ColdspotError, ServiceError
from service.logging import error_trace, get_logger
from service.wire.status import rich_status, status_code_of

_log = get_logger()


CallCounter = Callable[[str, str, str | None], None]
"""Counts a call by its method, the name of its gRPC status, and the code of its error."""


@contextmanager
def answering(context: grpc.ServicerContext, method: str, count: CallCounter) -> Iterator[None]:
    """End the call with a status for whatever is raised inside, and count it.

    An unforeseen error becomes INTERNAL with an incident id; the log has the error's class and place under this id.
    Its message is neither logged nor sent.
    """
    began = time.monotonic()
    try:
        yield
        count(method, grpc.StatusCode.OK.name, None)
    except ColdspotError as error:
        count(method, status_code_of(type(error)).name, error.code)
        _log.info("refused_call", method=method, code=error.code, duration_s=time.monotonic() - began)
        context.abort_with_status(rpc_status.to_status(rich_status(error)))
    except GeneratorExit:  # a stream that its client no longer reads
        count(method, grpc.StatusCode.CANCELLED.name, None)
        raise
    except grpc.RpcError:
        count(method, grpc.StatusCode.CANCELLED.name, None)
        _log.info("client_gone", method=method, duration_s=time.monotonic() - began)
        context.abort(grpc.StatusCode.CANCELLED, "the call was given up")
    except Exception as error:
        if not context.is_active():
            count(method, grpc.StatusCode.CANCELLED.name, None)
            _log.info("client_gone", method=method, duration_s=time.monotonic() - began)
            raise
        incident = uuid.uuid4().hex[:12]
        _log.error("internal_error", method=method, incident_id=incident, **error_trace(error))
        count(method, grpc.StatusCode.INTERNAL.name, ServiceError.code)
        hidden = ServiceError(
            f"internal error {incident}: the log has its place under this id; try again, report it"
        )
        context.abort_with_status(rpc_status.to_status(rich_status(hidden)))
