"""Around the engine: gRPC server, case store, admission, worker, metrics, client and command line.

Research software, not a medical device.
"""
