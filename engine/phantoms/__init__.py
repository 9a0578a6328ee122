"""Phantom procedures with known truth: a thorax, a tumor, a breath between two scans, an ablation.

Everything is procedural and follows from a seed. Nothing here is a patient; the headers say so. The truth
is found from the implicit shapes themselves, never from the masks or by the code under test.
"""

from engine.phantoms.closed_form import (
    rasterize_ellipsoid,
    rasterize_sphere,
    sphere_minimal_margin_mm,
    sphere_overlap_tcr,
)
from engine.phantoms.painting import paint_ablation
from engine.phantoms.procedure import PhantomProcedure, make_procedure
from engine.phantoms.truth import PhantomTruth, TrueRegion
from engine.phantoms.tumor import LobulatedTumor, SmoothedMask, TumorShape, random_tumor

__all__ = [
    "LobulatedTumor",
    "PhantomProcedure",
    "PhantomTruth",
    "SmoothedMask",
    "TrueRegion",
    "TumorShape",
    "make_procedure",
    "paint_ablation",
    "random_tumor",
    "rasterize_ellipsoid",
    "rasterize_sphere",
    "sphere_minimal_margin_mm",
    "sphere_overlap_tcr",
]
