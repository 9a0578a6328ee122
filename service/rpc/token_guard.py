"""Lets only clients in that show a token the operator gave out."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Final

import grpc
from grpc_health.v1 import health

from engine.errors import UnauthenticatedError
from service.rpc.answering import CallCounter, answering
from service.wire.authorization import AUTHORIZATION, BEARER

_OPEN_TO_ALL: Final = f"/{health.SERVICE_NAME}/"
"""Calls that need no token: who supervises the service must not hold the key to its patients."""


class TokenGuard:
    """A server interceptor: a call without one of the tokens ends as UNAUTHENTICATED before a message is read.

    Parameters
    ----------
    tokens : iterable of str
        Only their digests are kept.
    count : callable
        As :func:`service.rpc.answering.answering` takes it.
    """

    def __init__(self, tokens: Iterable[str], count: CallCounter) -> None:
        self._count = count
        self._digests = tuple(_digest(token.encode()) for token in tokens)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Hand the call on, or refuse it."""
        handler, method = continuation(handler_call_details), str(handler_call_details.method)
        if handler is None or method.startswith(_OPEN_TO_ALL) or self._knows(handler_call_details):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            lambda _request, context: self._refuse(method.rpartition("/")[2], context)
        )

    def _refuse(self, method: str, context: grpc.ServicerContext) -> None:
        with answering(context, method, self._count):
            raise UnauthenticatedError(
                "the service asks for a token, and this call shows none that it knows; name the file of yours "
                "(--token-file, COLDSPOT_CLIENT_TOKEN_FILE)"
            )

    def _knows(self, details: grpc.HandlerCallDetails) -> bool:
        shown = [value for key, value in details.invocation_metadata if key == AUTHORIZATION]
        if len(shown) != 1 or not str(shown[0]).lower().startswith(BEARER.lower()):
            return False
        digest = _digest(str(shown[0])[len(BEARER) :].encode())
        # Every token is compared, each in constant time: how long it takes tells nothing about them.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
