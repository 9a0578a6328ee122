"""FM-LCT checkpoints to bundles."""
