"""Calls of ``coldspot cases`` and what they print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.table import Table

from service.client.client import ColdspotClient
from service.commands.this_machine import service_here
from service.settings import read_settings
from service.wire.report import case_json, overview_json

if TYPE_CHECKING:
    from service.credentials import Access


def list_cases(address: str | None, access: Access) -> dict[str, Any]:
    """Return all cases of a service, the newest first."""
    with _connected(address, access) as client:
        return {"cases": [overview_json(case) for case in client.cases()]}


def show_case(address: str | None, access: Access, case_id: str) -> dict[str, Any]:
    """Return what a service has stored for a case."""
    with _connected(address, access) as client:
        return case_json(client.case(case_id))


def delete_cases(address: str | None, access: Access, case_ids: Sequence[str]) -> dict[str, Any]:
    """Remove cases from a service; at the first that cannot be removed it ends."""
    with _connected(address, access) as client:
        for case_id in case_ids:
            client.delete_case(case_id)
        return {"deleted": list(case_ids)}


def cases_table(report: dict[str, Any]) -> Table:
    """Return a list of cases as a table."""
    table = Table(title=f"{len(report['cases'])} cases, the newest first", title_justify="left")
    table.add_column("Case", no_wrap=True)
    table.add_column("Opened (UTC)")
    for heading in ("Series", "Assessments", "MB"):
        table.add_column(heading, justify="right")
    for case in report["cases"]:
        counts = (case["series_count"], case["assessment_count"])
        megabytes = f"{case['stored_bytes'] / 1e6:.1f}"
        table.add_row(case["case_id"], _minute(case["opened_at"]), *map(str, counts), megabytes)
    return table


def case_rows(case: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is stored for a case as names and values."""
    yield "Opened (UTC)", _minute(case["opened_at"])
    for name in ("sex", "fibrinogen_g_per_l", "target_lps_mm"):
        if case[name] is not None and case[name] != "unspecified":
            yield name, str(case[name])
    for series in case["series"]:
        role = series["role"].replace("_", " ")
        yield role, f"{series['series_id']}, {series['stored_bytes'] / 1e6:.1f} MB"
    yield "Prepared", "yes" if case["prepared"] else "no"
    for assessment_id in case["assessment_ids"]:
        yield "Assessment", assessment_id


@contextmanager
def _connected(address: str | None, access: Access) -> Iterator[ColdspotClient]:
    settings = read_settings()
    target, access = (address, access) if address else service_here(settings, access)
    with ColdspotClient(target, access) as client:
        yield client


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
