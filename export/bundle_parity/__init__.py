"""A written bundle beside the model it came from, on real CT."""
