"""What a deformation itself says against its scans: a wrong header, a breath between slices, a place it lost."""
