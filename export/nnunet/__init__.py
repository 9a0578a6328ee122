"""nnU-Net model folders to bundles."""
