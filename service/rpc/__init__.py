"""The gRPC transport: server, servicer and what watches over its calls."""
