"""What runs at the bedside: no torch, no gRPC, no network.

Research software, not a medical device.
"""

__version__ = "0.1.0"

DISCLAIMER = "Research software, not a medical device."
