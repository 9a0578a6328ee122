"""A written bundle compared with the model it came from, on real CT."""
