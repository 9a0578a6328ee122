"""Coverage, margin, uncovered regions and their interval, measured on one grid."""
