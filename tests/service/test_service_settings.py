from __future__ import annotations

from pathlib import Path

import pytest
from numba import cuda
from pydantic import ValidationError

from engine.errors import BackendError, InvalidRequestError
from engine.kernels.backend import KernelBackend
from service.credentials import is_loopback
from service.settings import Settings, default_models_dir, read_settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    assert Settings(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "appliance.example", ""])  # noqa: S104 - refused
def test_other_addresses_need_tls_or_a_word(host: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="allow_insecure"):
        Settings(host=host)
    assert Settings(host=host, allow_insecure=True)
    assert Settings(host=host, tls_certificate=tmp_path / "c", tls_key=tmp_path / "k")


def test_half_a_tls_setup(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="both"):
        Settings(tls_certificate=tmp_path / "c")
    with pytest.raises(ValidationError, match="tls_client_ca"):
        Settings(tls_client_ca=tmp_path / "ca")


def test_sources_and_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "coldspot.toml"
    config.write_text("port = 1\nmax_admitted = 2\nmax_slice_mm = 2.5\n", encoding="utf-8")
    monkeypatch.setenv("COLDSPOT_CONFIG", str(config))
    monkeypatch.setenv("COLDSPOT_MAX_ADMITTED", "3")
    monkeypatch.setenv("COLDSPOT_PORT", "4")
    settings = Settings(port=5)
    assert (settings.port, settings.max_admitted, settings.max_slice_mm) == (5, 3, 2.5)


def test_an_unknown_key_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "coldspot.toml"
    config.write_text("max_admited = 2\n", encoding="utf-8")
    monkeypatch.setenv("COLDSPOT_CONFIG", str(config))
    with pytest.raises(ValidationError):
        Settings()
    monkeypatch.setenv("COLDSPOT_CONFIG", str(tmp_path / "absent.toml"))
    with pytest.raises(ValueError, match="not a file"):
        Settings()


def test_a_registration_deadline_reaches_the_engine(tmp_path: Path) -> None:
    from service.pipeline.engine import EnginePipeline

    for deadline_s in (None, 0.8):
        settings = Settings(models_dir=tmp_path, registration_deadline_s=deadline_s)
        assert EnginePipeline(settings).assessment_settings.registration_deadline_s == deadline_s
    with pytest.raises(ValidationError):
        Settings(registration_deadline_s=0.0)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_kernels_that_were_chosen_measure_and_are_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.selftest import phantom
    from service.pipeline import engine as pipeline

    measured: list[KernelBackend] = []
    monkeypatch.setenv("COLDSPOT_KERNEL_BACKEND", name)
    monkeypatch.setattr(pipeline, "require_kernels", lambda _kernels: None)
    monkeypatch.setattr(phantom, "run_self_test", measured.append)
    chosen = pipeline.EnginePipeline(Settings(models_dir=tmp_path))
    chosen.self_test()
    assert measured == [chosen.assessment_settings.kernels] == [KernelBackend(name)]
    assert chosen.describe().kernels == name


@pytest.mark.skipif(cuda.is_available(), reason="CUDA answers here")
def test_kernels_that_cannot_run_here_are_refused_at_the_start(tmp_path: Path) -> None:
    from service.pipeline.engine import EnginePipeline

    with pytest.raises(BackendError, match="CUDA"):
        EnginePipeline(Settings(models_dir=tmp_path, kernel_backend=KernelBackend.GPU))


def test_the_definition_of_the_kernels_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDSPOT_KERNEL_BACKEND", "reference")
    with pytest.raises(ValidationError, match="kernel_backend"):
        Settings()


@pytest.mark.parametrize(
    ("chosen_s", "time_left_s", "given_s"),
    [
        (None, None, None),
        (0.8, None, 0.8),
        (None, 10.0, 6.0),
        (0.8, 10.0, 0.8),
        (9.0, 10.0, 6.0),
        (None, 1.0, 0.0),
        (None, -1.0, 0.0),
    ],
)
def test_the_callers_deadline_leaves_time_for_the_other_stages(
    chosen_s: float | None, time_left_s: float | None, given_s: float | None
) -> None:
    from engine.assessment.planning import AssessmentSettings
    from service.pipeline.engine import RESERVED_S, within_deadline

    assert RESERVED_S == 4.0
    settings = within_deadline(AssessmentSettings(registration_deadline_s=chosen_s), time_left_s)
    assert settings.registration_deadline_s == given_s


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1


def test_models_lie_beside_the_engine() -> None:
    assert default_models_dir().parent == Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("COLDSPOT_CLINICAL_MOD", "COLDSPOT_CLINICAL_MODE"),
        ("COLDSPOT_MAX_ADMITED", "COLDSPOT_MAX_ADMITTED"),
        ("coldspot_clinicalmode", "COLDSPOT_CLINICAL_MODE"),
        ("COLDSPOT_CLIENT_TOKENFILE", "COLDSPOT_CLIENT_TOKEN_FILE"),
        ("COLDSPOT_SOMETHING_ELSE_ALTOGETHER", "unknown environment variable"),
    ],
)
def test_a_misspelled_variable_is_an_error(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(InvalidRequestError, match=told) as caught:
        read_settings()
    assert name in str(caught.value)


def test_every_setting_and_every_known_variable_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in Settings().model_dump().items():
        if value is not None:
            monkeypatch.setenv(f"COLDSPOT_{name.upper()}", str(value))
    for name in (
        "COLDSPOT_DATA",
        "COLDSPOT_MODELS",
        "COLDSPOT_CLIENT_TLS_CA",
        "COLDSPOTTED",
        "coldspot_port",
    ):
        monkeypatch.setenv(name, "7")
    assert read_settings().port == 7


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PORT", "abc", "port must be a whole number, not 'abc'"),
        ("PORT", "70000", "port must be at most 65535, not '70000'"),
        ("PORT", "-1", "port must be at least 0, not '-1'"),
        ("RETENTION_DAYS", "0", "retention_days must be above 0, not '0'"),
        ("MAX_STATE_SHARE", "half", "max_state_share must be a number, not 'half'"),
        ("CLINICAL_MODE", "maybe", "clinical_mode must be true or false, not 'maybe'"),
        ("KERNEL_BACKEND", "tpu", "kernel_backend must be"),
        ("HOST", "192.0.2.7", "settings: 192.0.2.7 can be reached from other machines"),
    ],
)
def test_a_wrong_value_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"COLDSPOT_{variable}", value)
    with pytest.raises(InvalidRequestError) as told:
        read_settings()
    assert said in str(told.value)
    assert "Input should" not in str(told.value)
    assert "Value error" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"port = ", "is not valid TOML"), (b"\xff\xfe", "is not valid TOML"), (b"prot = 1", "prot is unknown")],
)
def test_a_wrong_settings_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    file = tmp_path / "coldspot.toml"
    file.write_bytes(content)
    monkeypatch.setenv("COLDSPOT_CONFIG", str(file))
    with pytest.raises(InvalidRequestError, match=said):
        read_settings()
