"""The radiomics signature of a risk model, applied to an ablation zone, and the risk with what it gives."""

from __future__ import annotations

from dataclasses import replace

from engine.errors import InputError, ManifestError, ModelInputError, RadiomicsError
from engine.manifest import SurvivalSection
from engine.manifest.signature import SignatureSection
from engine.radiomics.extractor import require_extractor
from engine.radiomics.radscore import Radscore, zone_radscore
from engine.risk.absence import RiskAbsence, RiskAbsenceCode
from engine.risk.clinical_inputs import ClinicalInputs
from engine.risk.model import SurvivalModel, SurvivalRisk
from engine.volume import CtVolume, LabelMask


def signature_of(model: SurvivalModel | None) -> SignatureSection | None:
    """The signature of a risk model, where it has one."""
    return None if model is None else _section(model).signature


def require_computable(model: SurvivalModel) -> None:
    """Refuse a model whose signature names another extractor than the one installed here; loads that.

    Raises
    ------
    BackendError
    """
    signature = signature_of(model)
    if signature is not None and signature.features:
        require_extractor(signature.extractor)


def radscore_for(model: SurvivalModel, ct: CtVolume, zone: LabelMask) -> Radscore:
    """The Radscore of a zone by the signature of a model that has one.

    Parameters
    ----------
    model : SurvivalModel
    ct : CtVolume
        The whole verification CT.
    zone : LabelMask
        On its grid.

    Returns
    -------
    Radscore

    Raises
    ------
    RadiomicsError
        If the features cannot be computed, or the model does not accept what they give.
    ManifestError
        If the model has no signature.
    BackendError
        If the library that computes the features is not installed.
    """
    signature = signature_of(model)
    if signature is None:
        raise ManifestError(f"{model.name} has no signature")
    radscore = zone_radscore(ct, zone, signature)
    for covariate in _section(model).covariates:
        value = _signature_covariates(model, radscore).get(covariate.name)
        if value is not None and not covariate.accepted_low <= value <= covariate.accepted_high:
            raise RadiomicsError(
                f"{covariate.name} {value:.4g} is outside {covariate.accepted_low:.4g} to "
                f"{covariate.accepted_high:.4g}, what {model.name} accepts; check the zone and the scan's kernel"
            )
    return radscore


def risk_of(
    model: SurvivalModel,
    clinical: ClinicalInputs,
    probability_complete: float,
    radscore: Radscore | None,
    *,
    include_if_complete: bool,
) -> SurvivalRisk | RiskAbsence:
    """The risk of a model, or why there is none: an input it cannot take costs the risk and nothing else.

    The flags of the Radscore join those of the risk.

    Raises
    ------
    ModelError
        If the network gives a risk that is not a number.
    """
    section = _section(model)
    if radscore is None and (section.uses_radscore or section.uses_signature_features):
        return RiskAbsence(
            RiskAbsenceCode.NO_SIGNATURE,
            f"{model.name} needs the radiomics signature of the zone, which could not be computed; see the warnings",
        )
    covariates = {} if radscore is None else _signature_covariates(model, radscore)
    score = covariates.pop("radscore", None)
    try:
        risk = model.risk(
            clinical.sex,
            clinical.fibrinogen_g_per_l,
            probability_complete,
            radscore=score,
            further=covariates,
            include_if_complete=include_if_complete,
        )
    except (InputError, ModelInputError) as error:
        return RiskAbsence(RiskAbsenceCode.UNUSABLE_INPUT, str(error))
    return risk if radscore is None else replace(risk, flags=risk.flags + radscore.flags)


def _signature_covariates(model: SurvivalModel, radscore: Radscore) -> dict[str, float]:
    """The covariates that the signature gives, in the way the model takes them."""
    section = _section(model)
    if section.uses_signature_features:
        return radscore.features
    return {"radscore": radscore.value} if section.uses_radscore else {}


def _section(model: SurvivalModel) -> SurvivalSection:
    if model.manifest.survival is None:
        raise ManifestError(f"{model.name} is not a survival model")
    return model.manifest.survival
