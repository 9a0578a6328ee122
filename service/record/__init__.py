"""What is kept of an assessment: artifacts, provenance, the report."""
