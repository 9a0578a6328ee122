"""A gRPC service that takes the messages of an upload and only counts their bytes: what a stream can move.

Prints its port, then answers until its standard input ends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from coldspot.v1 import service_pb2, service_pb2_grpc


class Counting(service_pb2_grpc.ColdspotServiceServicer):
    """Reads every message, keeps none."""

    def UploadSeries(  # noqa: N802 - the name is that of the .proto
        self, request_iterator: Iterator[service_pb2.UploadSeriesRequest], context: grpc.ServicerContext
    ) -> service_pb2.UploadSeriesResponse:
        """Count."""
        del context
        return service_pb2.UploadSeriesResponse(
            stored_bytes=sum(len(part.chunk) for part in request_iterator)
        )


def main() -> None:
    """Serve."""
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        add_servicer: Callable[..., None] = service_pb2_grpc.add_ColdspotServiceServicer_to_server
        add_servicer(Counting(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        print(port, flush=True)
        sys.stdin.read()
        server.stop(0).wait()


if __name__ == "__main__":
    main()
