"""The limits beyond which a registration is refused instead of believed."""

from __future__ import annotations

from typing import Final

from engine.findings import RegistrationQuality
from engine.refusal import RefusalCode, RefusedError

MIN_SIMILARITY: Final = 0.5
"""Of the deformed scans; same-patient pairs show 0.97 and more."""

MAX_RESIDUAL_MM: Final = 1.5
MAX_INCONSISTENCY_MM: Final = 6.0
MAX_MISMATCHED_SHARE: Final = 0.35
"""Share of the structured surroundings without a match: 0.03 at most on scans that belong together."""

MAX_NEW_AIR_ML: Final = 5.0
"""Around lesions without a pneumothorax 0.3 mL at most, 2.8 mL over two whole lungs between breaths; with a
pneumothorax of 5 mm 9 mL and more, of 10 mm 15 mL and more."""

MIN_EVIDENCE_SHARE: Final = 0.25
MIN_JACOBIAN: Final = 0.05


def require_trustworthy(quality: RegistrationQuality) -> None:
    """Refuse a registration that its own judge does not trust.

    Raises
    ------
    RefusedError
    """
    if quality.evidence_share < MIN_EVIDENCE_SHARE:
        raise RefusedError(
            RefusalCode.LESION_OUTSIDE_OVERLAP,
            f"only {quality.evidence_share:.0%} of the lesion's surroundings are in both scans (minimum "
            f"{MIN_EVIDENCE_SHARE:.0%}); scan or reconstruct a larger field of view around the lesion",
        )
    if quality.new_air_ml > MAX_NEW_AIR_ML:
        raise RefusedError(
            RefusalCode.LUNG_CHANGED,
            f"{quality.new_air_ml:.0f} mL of air lie where the planning CT shows tissue (limit "
            f"{MAX_NEW_AIR_ML:g} mL): a pneumothorax. The lung has moved in a way that its surroundings do not "
            "tell; repeat the verification CT once the lung is re-expanded.",
        )
    if quality.mismatched_share > MAX_MISMATCHED_SHARE:
        raise RefusedError(
            RefusalCode.LUNG_CHANGED,
            f"{quality.mismatched_share:.0%} of the lesion's structured surroundings have no counterpart after "
            f"alignment (limit {MAX_MISMATCHED_SHARE:.0%}): a collapse, an effusion, another lesion or "
            "another patient. Compare the scans by eye; repeat the verification CT once the lung is re-expanded.",
        )
    if quality.min_jacobian < MIN_JACOBIAN:
        raise RefusedError(
            RefusalCode.FOLDING,
            f"the deformation near the lesion folds or crushes tissue (minimum Jacobian "
            f"{quality.min_jacobian:.2f}, limit {MIN_JACOBIAN:g}): the lung changed in a way that cannot be "
            "followed. Repeat the verification CT at the breath-hold of the planning CT.",
        )
    if (
        quality.similarity < MIN_SIMILARITY
        or quality.residual_mm > MAX_RESIDUAL_MM
        or quality.inverse_consistency_mm > MAX_INCONSISTENCY_MM
    ):
        raise RefusedError(
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            f"after registration the surroundings are still {quality.residual_mm:.1f} mm off (limit "
            f"{MAX_RESIDUAL_MM:g}), there and back differ by {quality.inverse_consistency_mm:.1f} mm (limit "
            f"{MAX_INCONSISTENCY_MM:g}) and the similarity is {quality.similarity:.2f} (minimum "
            f"{MIN_SIMILARITY:g}): another patient, a large pneumothorax or a different breath-hold. "
            "Compare the scans by eye; repeat the verification CT if the breath-hold differs.",
        )
