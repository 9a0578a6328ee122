"""Reads the messages of uploads without a copy of their bytes."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from service.wire.upload import METHOD, decoded


class QuickUploads:
    """A server interceptor: the messages of uploads are read by :func:`service.wire.upload.decoded`."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Replace how the requests of one method are read."""
        handler = continuation(handler_call_details)
        if handler is None or handler_call_details.method != METHOD:
            return handler
        return grpc.stream_unary_rpc_method_handler(
            handler.stream_unary,
            request_deserializer=decoded,
            response_serializer=handler.response_serializer,
        )
