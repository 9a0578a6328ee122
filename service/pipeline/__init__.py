"""The engine as the service calls it: models, backends, first start."""
