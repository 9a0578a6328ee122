"""Third-party checkpoints, read without running any code of theirs."""
