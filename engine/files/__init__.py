"""CTs, masks and displacement fields from files and back."""
