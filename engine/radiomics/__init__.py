"""Radiomics of the ablation zone: PyRadiomics on what a signature needs, near the zone only.

The features are PyRadiomics' own (van Griethuysen et al. 2017, DOI 10.1158/0008-5472.CAN-17-0339); what is done
here is to give it the zone instead of the whole chest, and to compute no more than was asked for.
"""

from __future__ import annotations

from engine.radiomics.extraction import ZoneRadiomics, extract_features, extract_radiomics
from engine.radiomics.extractor import EXTRACTOR, require_extractor
from engine.radiomics.feature_names import feature_names
from engine.radiomics.radscore import FeatureContribution, Radscore, radscore, zone_radscore

__all__ = [
    "EXTRACTOR",
    "FeatureContribution",
    "Radscore",
    "ZoneRadiomics",
    "extract_features",
    "extract_radiomics",
    "feature_names",
    "radscore",
    "require_extractor",
    "zone_radscore",
]
