"""The limits beyond which a registration is refused instead of believed."""

from __future__ import annotations

from typing import Final

from engine.arrays import Float64Array
from engine.findings import TARGET_MARGIN_MM, RegistrationQuality
from engine.geometry import Vector3
from engine.refusal import RefusalCode, RefusedError
from engine.registration.judging.breathing_step import BreathingStep
from engine.registration.judging.pose import PoseJudgement

MIN_SIMILARITY: Final = 0.5
"""Of the deformed scans; same-patient pairs show 0.97 and more."""

MAX_RESIDUAL_MM: Final = 1.5
MAX_LARGEST_RESIDUAL_MM: Final = 5.0
"""Around lesions 0.9 mm at most, 3.4 over two whole lungs between breaths; lung that is 10 mm off asks for 4.5 mm."""

MAX_INCONSISTENCY_MM: Final = 6.0
MAX_MISMATCHED_SHARE: Final = 0.35
"""Share of the structured surroundings without a match: 0.03 at most on scans that belong together."""

MAX_NEW_AIR_ML: Final = 1.8
"""As measured, along the wall. 0.4 mL at most in 111 registered pairs with lung of -970 to -900 HU, emphysema in places
or bowel gas of 10 to 40 mL, or a lower skin; 1.5 in 119 more that were painted after registration, 2.0 in one more.
Of 10 to 18 mL in lenses and crescents of 3 mm and more 20 in 22 measure more, of layers of 2 mm hardly any."""

MAX_AXIS_SCALE_ERROR: Final = 0.05
"""Beyond what scatter explains: up to 0.044 on scans with right headers, lung and bones bent by up to 10 mm, 0.047 on a
breathing pair; with a slice distance off by 10 % 0.05 to 0.15 where no bend of the chest itself undoes it (44 of 56),
off by 20 to 25 % 0.09 and more."""

MAX_STEP_THROUGH_TARGET_MM: Final = 3.5
"""Of the tumor and the tissue around it one part is shown in another breath than the other."""

_TARGET_BEYOND_TUMOR_MM: Final = TARGET_MARGIN_MM + 3.0
"""The place of a step is known to within a node of the deformation."""

MIN_POSE_SUPPORT: Final = 1.0
"""Matches near the tumor that agree with each other: 4 to 32 around lesions that are found to 2 mm, with 3 mm slices
and little lung 1.1; of 18 wrong poses (3 mm and more) 8 have less than this, or hardly a match."""

MAX_POSE_DISAGREEMENT_MM: Final = 2.5
"""Between the tumor's places by the matches and by the deformation: 0.3 mm in the median and 0.9 at most where it is
found to 2 mm."""

MAX_TYPICAL_DISAGREEMENT_MM: Final = 1.9
"""Median distance of the matches from the deformation: 1.7 mm at most, of a 5 mm scan; wrong poses 1.8 to 15 mm."""

MAX_FAR_SHARE: Final = 0.2
"""Of the matches, farther off than 4 mm: 0.1 at most; wrong poses 0.23 to 1."""

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
            f"{quality.new_air_ml:.0f} mL of air lie between lung and chest wall{_place(quality.new_air_lps_mm)}, "
            f"where the planning CT shows lung (limit {MAX_NEW_AIR_ML:g} mL): a pneumothorax. The lung has moved in a "
            "way that its surroundings do not tell; repeat the verification CT once the lung is re-expanded.",
        )
    if quality.mismatched_share > MAX_MISMATCHED_SHARE:
        raise RefusedError(
            RefusalCode.LUNG_CHANGED,
            f"{quality.mismatched_share:.0%} of the lesion's structured surroundings have no counterpart after "
            f"alignment (limit {MAX_MISMATCHED_SHARE:.0%}): a collapse, an effusion, another lesion or "
            "another patient. Compare the scans by eye; repeat the verification CT once the lung is re-expanded.",
        )
    # After what tells another patient: bent onto a foreign chest the deformation is stretched, too.
    if quality.axis_scale_error is not None and quality.axis_scale_error > MAX_AXIS_SCALE_ERROR:
        raise RefusedError(
            RefusalCode.SLICE_DISTANCE_DOUBTFUL,
            f"one scan is stretched against the other by at least {quality.axis_scale_error:.0%} along one axis (limit "
            f"{MAX_AXIS_SCALE_ERROR:.0%}), as breathing does not: the slice distance or the pixel spacing in one of "
            "the headers is wrong. Compare both with the scanner's protocol; send the scans with the right spacing.",
        )
    if quality.min_jacobian < MIN_JACOBIAN:
        raise RefusedError(
            RefusalCode.FOLDING,
            f"the deformation near the lesion folds or crushes tissue (minimum Jacobian "
            f"{quality.min_jacobian:.2f}, limit {MIN_JACOBIAN:g}): the lung changed in a way that cannot be "
            "followed. Repeat the verification CT at the breath-hold of the planning CT.",
        )
    if quality.largest_residual_mm is not None and quality.largest_residual_mm > MAX_LARGEST_RESIDUAL_MM:
        raise RefusedError(
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            f"in one region the images still ask for {quality.largest_residual_mm:.1f} mm after registration (limit "
            f"{MAX_LARGEST_RESIDUAL_MM:g} mm): part of the lung was not followed. Compare the scans by eye; repeat the "
            "verification CT at the breath-hold of the planning CT.",
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


def require_confirmed_pose(pose: PoseJudgement | None) -> PoseJudgement:
    """Refuse a place of the tumor that matches left out of the registration do not confirm.

    Parameters
    ----------
    pose : PoseJudgement, optional

    Returns
    -------
    PoseJudgement
        That there is.

    Raises
    ------
    RefusedError
    """
    if pose is None or pose.support < MIN_POSE_SUPPORT:
        raise RefusedError(
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            "too few places around the lesion can be told apart in both scans to confirm where the tumor lies: another "
            "patient, a patient turned too far, or hardly any structure around the lesion. Compare the scans by eye; "
            "repeat the verification CT in the position of the planning CT.",
        )
    if (
        pose.disagreement_mm > MAX_POSE_DISAGREEMENT_MM
        or pose.typical_mm > MAX_TYPICAL_DISAGREEMENT_MM
        or pose.far_share > MAX_FAR_SHARE
    ):
        raise RefusedError(
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            f"vessels around the lesion, matched one by one, put the tumor {pose.disagreement_mm:.1f} mm from where "
            f"the registration does (limit {MAX_POSE_DISAGREEMENT_MM:g} mm); they are typically "
            f"{pose.typical_mm:.1f} mm off (limit {MAX_TYPICAL_DISAGREEMENT_MM:g} mm), and {pose.far_share:.0%} lie "
            "somewhere else (limit "
            f"{MAX_FAR_SHARE:.0%}). Compare the scans by eye; repeat the verification CT in the position and at the "
            "breath-hold of the planning CT.",
        )
    return pose


def require_one_breath(
    step: BreathingStep | None, tumor_center_lps_mm: Float64Array, tumor_radius_mm: float
) -> None:
    """Refuse scans of which one was taken in two breaths, with the change between them in the target.

    Parameters
    ----------
    step : BreathingStep, optional
    tumor_center_lps_mm : ndarray, (3,)
        In the fixed frame.
    tumor_radius_mm : float

    Raises
    ------
    RefusedError
    """
    if step is None or step.size_mm < MAX_STEP_THROUGH_TARGET_MM:
        return
    if step.distance_mm(tumor_center_lps_mm) <= tumor_radius_mm + _TARGET_BEYOND_TUMOR_MM:
        raise RefusedError(
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            f"the slices of one scan on both sides of the target are {step.size_mm:.0f} mm apart in breath (limit "
            f"{MAX_STEP_THROUGH_TARGET_MM:g} mm): the patient breathed while the table moved through the lesion. "
            "Repeat that scan in one breath-hold.",
        )


def _place(position_lps_mm: Vector3 | None) -> str:
    if position_lps_mm is None:
        return ""
    x, y, z = position_lps_mm
    return f" around LPS ({x:.0f}, {y:.0f}, {z:.0f}) mm of the verification CT"
