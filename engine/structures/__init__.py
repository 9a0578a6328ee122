"""Tumor, ablation zone and lung: contours, where they come from, and their surfaces."""
