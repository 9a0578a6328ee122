"""Jobs: one worker, and the procedures it runs."""
