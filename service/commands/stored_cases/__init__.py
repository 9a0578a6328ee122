"""``coldspot cases``: what a service has stored, and its removal."""
