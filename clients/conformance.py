"""Checks a client against the contract: plays a service with canned answers, and reports how the client used it.

::

    python clients/conformance.py -- node clients/node/procedure.mjs 127.0.0.1:50061
    python clients/conformance.py --port 50061          # until Ctrl-C: run the client yourself

The client should do a procedure for each answer: with a command it is started until it has had them all, five times at
most. Exit code 0 if every point passed, 1 if one failed or was not seen. Research software, not a medical device.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

from service.logging import silence_logging
from service.pipeline.mock import MockAnswer, MockPipeline
from service.rpc.server import SERVICE_NAME
from service.server import running_server
from service.settings import read_settings
from service.wire.upload import chunk_of, header_of

ANSWERS = (MockAnswer.MISS, MockAnswer.BUSY, MockAnswer.COMPLETE, MockAnswer.REFUSAL, MockAnswer.ERROR)
RUNS = 5
MAX_CHUNK_BYTES = 1 << 20
MAX_DEADLINE_S = 3600.0

POINTS = {
    "deadline": "every call has a deadline of an hour at most",
    "request_id": "OpenCase has a request_id of its own for each case",
    "sha256": "every upload announces its length and SHA-256",
    "chunks": "chunks are 1 MiB at most",
    "reference": "every mask names the CT it was drawn on",
    "prepare": "Prepare comes before Assess, and its stream is read to the end",
    "final": "the stream of Assess is read to its final answer",
    "waited": "after RESOURCE_EXHAUSTED the client waits as RetryInfo says, and asks again",
    "no_storm": "after INTERNAL the client does not ask again at once, over and over",
    "artifact": "sheet.png is fetched where there are numbers",
    "refusal": "after a refusal no picture of it is asked for",
    "delete": "every case is deleted in the end",
}


class Observer(grpc.ServerInterceptor):  # type: ignore[misc]  # gRPC has no types
    """Sees every call, and keeps what the checklist needs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, set[bool]] = defaultdict(set)
        self._request_ids: set[str] = set()
        self._open: set[str] = set()
        self._prepared: set[str] = set()
        self._full_at: dict[str, float] = {}
        self._failures: dict[str, int] = defaultdict(int)
        self._numbers: set[str] = set()
        self._refused: set[str] = set()
        self._fetched: set[str] = set()

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the calls of the service itself."""
        handler = continuation(handler_call_details)
        path, _, method = handler_call_details.method.rpartition("/")
        if handler is None or path.strip("/") != SERVICE_NAME:
            return handler
        if handler.request_streaming:
            return handler._replace(stream_unary=self._upload(handler.stream_unary))
        kind = "unary_stream" if handler.response_streaming else "unary_unary"
        watch = {
            "OpenCase": self._open_case,
            "DeleteCase": self._delete_case,
            "FetchArtifact": self._fetch_artifact,
            "Prepare": self._prepare,
            "Assess": self._assess,
        }.get(method)
        return handler._replace(**{kind: self._plain(getattr(handler, kind), watch)})

    def report(self) -> list[tuple[str, str]]:
        """Return the verdict on each point."""
        with self._lock:
            if self._request_ids:
                self._note("delete", good=not self._open)
            for case in self._numbers:
                self._note("artifact", good=case in self._fetched)
            for case in self._refused:
                self._note("refusal", good=case not in self._fetched)
            if self._failures:
                self._note("no_storm", good=max(self._failures.values()) <= 2)
            if self._full_at:
                self._note("waited", good=False)
            verdicts = {True: "FAIL", False: "PASS"}
            return [
                (verdicts[False in self._seen[name]] if self._seen[name] else "NOT SEEN", text)
                for name, text in POINTS.items()
            ]

    def had_all(self) -> bool:
        """Whether every kind of answer was given."""
        with self._lock:
            return bool(self._failures and self._refused and len(self._numbers) > 1)

    def _note(self, point: str, *, good: bool) -> None:
        self._seen[point].add(good)

    def _deadline(self, context: grpc.ServicerContext) -> None:
        left_s = context.time_remaining()
        self._note("deadline", good=left_s is not None and left_s <= MAX_DEADLINE_S)

    def _plain(self, call: Callable[..., Any], watch: Callable[..., Any] | None) -> Callable[..., Any]:
        def observed(request: Any, context: grpc.ServicerContext) -> Any:
            with self._lock:
                self._deadline(context)
            return call(request, context) if watch is None else watch(call, request, context)

        return observed

    def _upload(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def observed(parts: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._lock:
                self._deadline(context)
            return call(self._watched(parts), context)

        return observed

    def _watched(self, parts: Iterator[Any]) -> Iterator[Any]:
        for part in parts:
            header, chunk = header_of(part), chunk_of(part)
            with self._lock:
                if header is not None:
                    self._note("sha256", good=len(header.sha256) == 32 and header.total_bytes > 0)
                    if header.role > 2:
                        self._note("reference", good=bool(header.reference_series_id))
                if chunk is not None:
                    self._note("chunks", good=len(chunk) <= MAX_CHUNK_BYTES)
            yield part

    def _open_case(self, call: Callable[..., Any], request: Any, context: Any) -> Any:
        response = call(request, context)
        with self._lock:
            self._note(
                "request_id", good=bool(request.request_id) and request.request_id not in self._request_ids
            )
            self._request_ids.add(request.request_id)
            self._open.add(response.case_id)
        return response

    def _delete_case(self, call: Callable[..., Any], request: Any, context: Any) -> Any:
        response = call(request, context)
        with self._lock:
            self._open.discard(request.case_id)
        return response

    def _fetch_artifact(self, call: Callable[..., Any], request: Any, context: Any) -> Iterator[Any]:
        yield from call(request, context)
        if request.name == "sheet.png":
            with self._lock:
                self._fetched.add(request.case_id)

    def _prepare(self, call: Callable[..., Any], request: Any, context: Any) -> Iterator[Any]:
        yield from call(request, context)
        with self._lock:
            self._prepared.add(request.case_id)

    def _assess(self, call: Callable[..., Any], request: Any, context: Any) -> Iterator[Any]:
        case = request.case_id
        with self._lock:
            self._note("prepare", good=case in self._prepared)
            if case in self._full_at:
                self._note("waited", good=time.monotonic() - self._full_at.pop(case) >= 0.45)
            if self._failures.get(case):
                self._failures[case] += 1
        final = None
        try:
            for response in call(request, context):
                yield response
                if response.HasField("final"):
                    final = response.final
        except Exception:
            with self._lock:
                if context.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    self._full_at[case] = time.monotonic()
                else:
                    self._failures[case] = self._failures.get(case) or 1
                    self._open.discard(case)  # a client may keep it, to find out what happened
            raise
        with self._lock:
            self._note("final", good=final is not None)
            (self._refused if final is not None and final.HasField("refusal") else self._numbers).add(case)


def main() -> int:
    """Play the service, run the client, and print the checklist."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=50061)
    parser.add_argument(
        "command", nargs="*", help="the client, after --; run again until it had every answer"
    )
    chosen = parser.parse_args()
    silence_logging()
    observer = Observer()
    with TemporaryDirectory(prefix="coldspot-conformance-") as folder:
        settings = read_settings(
            host="127.0.0.1", port=chosen.port, metrics_port=None, state_dir=Path(folder), self_test=False
        )
        with running_server(settings, MockPipeline(ANSWERS), [observer]) as server:
            print(f"mock service at 127.0.0.1:{server.port}", flush=True)
            if chosen.command:
                for _ in range(RUNS):
                    subprocess.run(chosen.command, check=False, timeout=300)
                    if observer.had_all():
                        break
            else:
                try:
                    threading.Event().wait()
                except KeyboardInterrupt:
                    print()
    report = observer.report()
    for verdict, point in report:
        print(f"{verdict:8} {point}")
    return int(any(verdict != "PASS" for verdict, _ in report))


if __name__ == "__main__":
    sys.exit(main())
