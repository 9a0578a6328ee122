"""ONNX graphs: written from torch, and their precision."""
