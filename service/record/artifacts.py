"""Files of an assessment: masks, margin map, sheet and JSON.

They are made after the final answer has been sent, in a thread of their own, because the answer must
not wait for them. A fetch waits for the files. What was not finished when the service was killed is
gone with the maps it was to be made from; the fetch then says to assess again. `assessment.json` is
made from the stored answer and is always there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from engine.errors import NotFoundError, ServiceError
from service.artifact_names import ASSESSMENT_JSON, SHEET_PNG, check_artifact_name
from service.logging import error_trace, get_logger
from service.record.report import AssessmentReport

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from service.cases.store import CaseStore
    from service.pipeline.sheet.facts import SheetFacts

CHUNK_BYTES: Final = 512 << 10
_log = get_logger()


class ArtifactShelf:
    """Makes, stores and reads the files of assessments.

    Parameters
    ----------
    store : CaseStore
    draw : callable
        Writes the files of one assessment into a folder.
    """

    def __init__(
        self, store: CaseStore, draw: Callable[[AblationAssessment, SheetFacts, Path], None]
    ) -> None:
        self._store, self._draw = store, draw
        self._lock = threading.Lock()
        self._pending: dict[str, Future[None]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="artifacts")

    def promise(self, assessment: AblationAssessment, facts: SheetFacts) -> Callable[[], None]:
        """Announce the files of a stored assessment and return the function that begins to make them.

        From then on a fetch waits for the files, so that nobody who has seen the answer asks too early.
        """
        done: Future[None] = Future()
        with self._lock:
            self._pending[facts.assessment_id] = done

        def begin() -> None:
            self._thread.submit(self._make, assessment, facts, done)

        return begin

    def report(self, case_id: str, assessment_id: str) -> AssessmentReport:
        """Return the report of a stored assessment.

        Raises
        ------
        InvalidRequestError, NotFoundError, PreconditionError
        """
        return AssessmentReport.from_bytes(self._store.assessment(case_id, assessment_id))

    def read(self, case_id: str, assessment_id: str, name: str) -> Iterator[bytes]:
        """Wait for one file to be made, and return an iterator over its chunks.

        Raises
        ------
        InvalidRequestError
            If no artifact has this name.
        NotFoundError
            If the assessment is unknown, its files were lost with a restart, or it was refused and has no such file.
        ServiceError
            If the file could not be made.
        """
        check_artifact_name(name)
        report = self.report(case_id, assessment_id)
        if name == ASSESSMENT_JSON:
            text = json.dumps(report.content, indent=2, allow_nan=False)
            return iter([text.encode() + b"\n"])
        with self._lock:
            pending = self._pending.get(assessment_id)
        if pending is not None:
            pending.result()
        path = self._store.artifact(case_id, assessment_id, name)
        if path is None:
            raise _missing(report.refusal_code, name, made=pending is not None)
        return _chunks(path)

    def close(self) -> None:
        """Finish the files that are being made, then end the thread."""
        self._thread.shutdown(wait=True)

    def _make(self, assessment: AblationAssessment, facts: SheetFacts, done: Future[None]) -> None:
        assessment_id = facts.assessment_id
        try:
            with TemporaryDirectory(dir=self._store.blobs.unfinished) as folder:
                self._draw(assessment, facts, Path(folder))
                for path in sorted(Path(folder).iterdir()):
                    self._keep(assessment_id, path)
        except NotFoundError:
            _log.info("artifacts_of_deleted_assessment", assessment_id=assessment_id)
        except Exception as error:  # noqa: BLE001 - a picture that fails must not stop the thread; a fetch reports it
            _log.error("artifacts_failed", assessment_id=assessment_id, **error_trace(error))
        finally:
            with self._lock:
                self._pending.pop(assessment_id, None)
            done.set_result(None)

    def _keep(self, assessment_id: str, path: Path) -> None:
        with self._store.blobs.writer() as writer:
            for chunk in _chunks(path):
                writer.write(chunk)
            writer.flush()
            self._store.add_artifact(assessment_id, path.name, writer)


def _missing(refusal_code: str | None, name: str, *, made: bool) -> NotFoundError | ServiceError:
    if refusal_code is not None and name != SHEET_PNG:
        return NotFoundError(f"there is no {name}: the assessment was refused ({refusal_code})")
    if made:
        return ServiceError(f"{name} could not be made; the service's log says where it failed")
    return NotFoundError(
        f"{name} was not finished before the service restarted, or could not be made; assess again"
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
