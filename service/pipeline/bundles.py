"""The installed model bundles, and which of them serves a purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import InvalidRequestError
from engine.manifest import ModelManifest, SealedManifest, read_sealed_manifest
from engine.risk import absence
from engine.risk.absence import RiskAbsence, RiskAbsenceCode
from engine.risk.model import SurvivalModel
from engine.risk.signature import require_computable

if TYPE_CHECKING:
    from engine.model_identity import ModelIdentity
    from service.settings import Settings

NO_MODEL: Final = "none"
"""Given as the name of a model: none is used, even if one is installed."""


@dataclass(frozen=True)
class InstalledBundle:
    """The newest version of a bundle."""

    folder: Path
    sealed: SealedManifest

    @property
    def manifest(self) -> ModelManifest:
        """What the bundle says of itself."""
        return self.sealed.manifest

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self.sealed.identity


def installed_bundles(models_dir: Path) -> tuple[InstalledBundle, ...]:
    """Return the newest version of every bundle below ``models_dir``.

    Raises
    ------
    ManifestError, BundleIntegrityError
    """
    newest: dict[str, tuple[tuple[int, ...], InstalledBundle]] = {}
    for path in sorted(models_dir.glob("*/*/manifest.json")):
        sealed = read_sealed_manifest(path.parent)
        manifest = sealed.manifest
        version = tuple(int(part) for part in manifest.version.split("."))
        if manifest.id not in newest or newest[manifest.id][0] < version:
            newest[manifest.id] = version, InstalledBundle(path.parent, sealed)
    return tuple(bundle for _, bundle in newest.values())


def choose_bundle(
    bundles: tuple[InstalledBundle, ...],
    setting: str,
    name: str | None,
    suits: Callable[[ModelManifest], bool],
) -> InstalledBundle | None:
    """Return the bundle for a purpose: the named one, or the only one that suits.

    Raises
    ------
    InvalidRequestError
        If there are several and none is named, or the named one is not there.
    """
    fitting = {bundle.manifest.id: bundle for bundle in bundles if suits(bundle.manifest)}
    if name == NO_MODEL or (not fitting and name is None):
        return None
    chosen = name or (next(iter(fitting)) if len(fitting) == 1 else "")
    if chosen not in fitting:
        raise InvalidRequestError(
            f"{setting} must name one of the installed bundles: {', '.join(sorted(fitting)) or 'there is none'}"
        )
    return fitting[chosen]


def load_risk_model(settings: Settings, bundles: tuple[InstalledBundle, ...]) -> SurvivalModel | RiskAbsence:
    """Return the newest version of the risk model that may be used here, or why there is none.

    Raises
    ------
    InvalidRequestError
        If there are several models and the settings name none of them.
    ModelError
        If the bundle must not be used.
    BackendError
        If its signature needs an extractor of radiomics that is not installed.
    """
    chosen = choose_bundle(
        bundles, "risk_model", settings.risk_model, lambda manifest: manifest.kind == "survival"
    )
    if chosen is None:
        return absence.NO_MODEL
    model = SurvivalModel.load(chosen.folder)
    if not model.usable(settings.clinical_mode):
        return RiskAbsence(
            RiskAbsenceCode.DEMO_MODEL_IN_CLINICAL_MODE,
            f"{model.name} was fitted on a simulated cohort, and clinical mode uses no such model; "
            "install one of the site's own",
        )
    require_computable(model)
    return model
