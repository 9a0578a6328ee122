"""Cases and what was sent for them, on disk and in memory."""
