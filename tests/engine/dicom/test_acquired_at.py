"""When a series was acquired, from whichever attributes its headers have."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from engine.acquisition_time import TimeSource
from engine.dicom.attributes import acquired_at
from engine.dicom.series import read_series
from tests.support.dicom_files import ct_instances, encoded
from tests.support.dicom_series import phantom_ct

ACQUISITION = TimeSource.ACQUISITION


@pytest.mark.parametrize(
    ("values", "moment", "source"),
    [
        ({"AcquisitionDateTime": "20260102030405.25"}, "2026-01-02T03:04:05.25", ACQUISITION),
        ({"AcquisitionDateTime": "20260102030405-0500"}, "2026-01-02T03:04:05-05:00", ACQUISITION),
        (
            {"AcquisitionDateTime": "20260102030405", "TimezoneOffsetFromUTC": "+0130"},
            "2026-01-02T03:04:05+01:30",
            ACQUISITION,
        ),
        ({"AcquisitionDateTime": "2026"}, "", ACQUISITION),
        ({"AcquisitionDateTime": "202601021030"}, "2026-01-02", ACQUISITION),
        (
            {"AcquisitionDateTime": "garbage", "AcquisitionDate": "20260102", "AcquisitionTime": "030405"},
            "2026-01-02T03:04:05",
            ACQUISITION,
        ),
        (
            {"AcquisitionDate": "2026.01.02", "AcquisitionTime": "03:04:05"},
            "2026-01-02T03:04:05",
            ACQUISITION,
        ),
        ({"AcquisitionDate": "20260102", "AcquisitionTime": "0304"}, "2026-01-02", ACQUISITION),
        ({"AcquisitionDate": "20260102", "AcquisitionTime": "250000"}, "2026-01-02", ACQUISITION),
        ({"AcquisitionDate": "20261302", "ContentDate": "20260102"}, "2026-01-02", TimeSource.CONTENT),
        ({"SeriesDate": "20260102", "SeriesTime": "101112"}, "2026-01-02T10:11:12", TimeSource.SERIES),
        ({"StudyDate": "20260102"}, "2026-01-02", TimeSource.STUDY),
        ({"AcquisitionTime": "101112"}, "", ACQUISITION),
        ({}, "", ACQUISITION),
    ],
)
def test_each_attribute_is_read(values: dict[str, str], moment: str, source: TimeSource) -> None:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    assert acquired_at(dataset, "x") == (moment, source)


def test_a_series_began_with_its_earliest_slice_whatever_the_direction() -> None:
    datasets = ct_instances(phantom_ct())
    times = ["101112", "101111", "101110", "101113", "101114", "101115"]
    for dataset, time in zip(datasets, times, strict=True):
        dataset.AcquisitionTime = time
    np.random.default_rng(0).shuffle(datasets)
    acquisition = read_series([encoded(d) for d in datasets]).acquisition
    assert acquisition.acquired_at == "2026-01-02T10:11:10"
    assert acquisition.time_source is ACQUISITION


def test_a_slice_without_its_own_time_does_not_decide() -> None:
    datasets = ct_instances(phantom_ct(), ContentTime="000001")
    del datasets[0].AcquisitionDate
    acquisition = read_series([encoded(d) for d in datasets]).acquisition
    assert (acquisition.acquired_at, acquisition.time_source) == ("2026-01-02T03:04:05", ACQUISITION)
