"""How one appliance is set up: environment (``COLDSPOT_…``), an optional TOML file, or arguments."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

import engine
from engine.errors import InvalidRequestError
from engine.findings import READER_CONTOUR_SD_MM
from engine.kernels.backend import KernelBackend
from service.credentials import CLIENT_VARIABLES, is_loopback

_PREFIX: Final = "COLDSPOT_"
"""Of every environment variable that is meant for Coldspot."""

_CONFIG_VARIABLE: Final = "COLDSPOT_CONFIG"
"""Environment variable that names the TOML file."""

_FURTHER_VARIABLES: Final = frozenset(
    {
        _CONFIG_VARIABLE,
        *CLIENT_VARIABLES.values(),
        # Read by the compose files, not by the service.
        "COLDSPOT_MODELS",
        "COLDSPOT_TENSORRT",
        # Read by the tests.
        "COLDSPOT_DATA",
        "COLDSPOT_BIN",
        "COLDSPOT_ACCEPTANCE_CASES",
        "COLDSPOT_SIMULATED_COHORT",
        "COLDSPOT_TEST_PAUSE_S",
    }
)
"""Environment variables that are no settings of the service, and no mistakes either."""


def _default_state_dir() -> Path:
    """Return where cases live by default (XDG base directory specification)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "coldspot"


def default_models_dir() -> Path:
    """Return ``models/`` next to the engine's package, in a checkout and in an installed wheel alike."""
    return Path(engine.__file__).resolve().parent.parent / "models"


class Settings(BaseSettings):
    """Everything an operator can choose; frozen once read.

    Arguments take precedence over the environment, the environment over the TOML file.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of its range, a TOML key is unknown, or the service would listen beyond
        this machine without TLS and without an explicit ``allow_insecure``.
    """

    model_config = SettingsConfigDict(env_prefix="COLDSPOT_", frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535, description="0 takes a free one")
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = Field(default=None, description="ask clients for a certificate of this CA")
    allow_insecure: bool = Field(default=False, description="listen beyond this machine without TLS")
    access_tokens_file: Path | None = Field(
        default=None, description="serve only clients with one of these tokens, one in each line"
    )

    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(default=9464, ge=0, le=65535, description="none: no metrics")

    state_dir: Path = Field(default_factory=_default_state_dir)
    min_free_bytes: int = Field(default=512 << 20, ge=0, description="disk space an upload must leave")
    retention_days: float | None = Field(
        default=None, gt=0, description="cases unused for so many days are removed"
    )
    max_state_share: float | None = Field(
        default=None, gt=0, le=1, description="share of the disk above which the oldest cases are removed"
    )
    models_dir: Path = Field(default_factory=default_models_dir)

    max_series_bytes: int = Field(default=1 << 30, gt=0)
    max_voxels: int = Field(default=1 << 29, gt=0)
    max_instances: int = Field(default=8192, gt=0)
    max_admitted: int = Field(default=4, gt=0, le=64, description="uploads and assessments at once")
    cache_bytes: int = Field(default=3 << 30, ge=0, description="decoded volumes kept in memory")

    upload_idle_s: float = Field(default=30.0, gt=0, description="an upload that stalls this long is dropped")
    upload_limit_s: float = Field(default=600.0, gt=0, description="longest time for one upload")
    drain_grace_s: float = Field(default=20.0, ge=0, description="time for running work at shutdown")

    risk_model: str | None = Field(default=None, description="id of the bundle, where there are several")
    tumor_model: str | None = Field(default=None, description="segments tumors: id of the bundle, or none")
    zone_model: str | None = Field(default=None, description="segments ablation zones: likewise")
    segmentation_backend: str = Field(default="auto", description="what runs both; auto: the fastest here")
    kernel_backend: Literal[KernelBackend.CPU, KernelBackend.GPU] = Field(
        default=KernelBackend.CPU, description="what runs the voxel kernels"
    )
    clinical_mode: bool = Field(
        default=False,
        description="no figures of a model from a simulated cohort, no contours of a demo model",
    )
    max_slice_mm: float = Field(default=5.0, gt=0)
    reader_contour_sd_mm: float = Field(
        default=READER_CONTOUR_SD_MM,
        ge=0,
        le=3,
        description="standard deviation of the site's supplied contours",
    )
    registration_deadline_s: float | None = Field(
        default=None,
        gt=0,
        description="where the fine deformation would take longer, the coarse one is used",
    )
    self_test: bool = Field(default=True, description="warm up and measure a phantom before serving")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic calls it by this name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the TOML file."""
        path = os.environ.get(_CONFIG_VARIABLE)
        if not path:
            return init_settings, env_settings
        if not Path(path).is_file():
            raise ValueError(f"{_CONFIG_VARIABLE} names {path}, which is not a file")
        try:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)
        except (OSError, ValueError) as error:
            what = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "is not valid TOML"
            where = f" ({error})" if isinstance(error, tomllib.TOMLDecodeError) else ""
            raise ValueError(f"{_CONFIG_VARIABLE}: {path} {what}{where}; correct the file") from error

    @model_validator(mode="after")
    def _require_protection(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS needs both tls_certificate and tls_key")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        if self.tls_certificate is None and not self.allow_insecure and not is_loopback(self.host):
            raise ValueError(
                f"{self.host} can be reached from other machines: set tls_certificate and tls_key, or say "
                "allow_insecure where the network itself is protected"
            )
        return self


def read_settings(**arguments: Any) -> Settings:
    """Return the settings, with a typed error where they are wrong.

    Raises
    ------
    InvalidRequestError
        Also if an environment variable that begins with ``COLDSPOT_`` is unknown.
    """
    require_known_variables()
    try:
        return Settings(**arguments)
    except ValidationError as error:
        listed = "; ".join(_in_words(dict(problem)) for problem in error.errors())
        raise InvalidRequestError(f"settings: {listed}") from None
    except ValueError as error:
        raise InvalidRequestError(f"settings: {error}") from None


_REQUIRED: Final = {
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be above {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "string_type": "must be a text",
    "path_type": "must be a path",
}
"""What a value must be, by the kind of problem that pydantic names."""


def _in_words(problem: Mapping[str, Any]) -> str:
    """Return what is wrong with one setting, as pydantic describes it, in an operator's words."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    setting = ".".join(map(str, problem["loc"]))
    if kind == "extra_forbidden":
        return f"{setting} is unknown; docs/cli.md lists the settings"
    required = _REQUIRED.get(kind, "has a value that cannot be used").format(**context)
    return f"{setting} {required}, not {problem['input']!r}"


def require_known_variables() -> None:
    """Refuse a misspelled variable: what it was meant to switch on would silently stay off.

    Raises
    ------
    InvalidRequestError
    """
    known = {*_FURTHER_VARIABLES, *(_PREFIX + field.upper() for field in Settings.model_fields)}
    unknown = sorted(
        name for name in os.environ if name.upper().startswith(_PREFIX) and name.upper() not in known
    )
    if not unknown:
        return
    described = []
    for name in unknown:
        close = difflib.get_close_matches(name.upper(), known, n=1)
        described.append(f"{name} (did you mean {close[0]}?)" if close else name)
    raise InvalidRequestError(
        f"unknown environment variable {', '.join(described)}; correct or unset it. docs/cli.md lists the settings"
    )
