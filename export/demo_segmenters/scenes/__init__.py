"""Training scenes, in the spirit of SynthSeg: what varies between scanners, patients and ablations is drawn at random.

Far beyond what is realistic, so that a network cannot rely on any of it.
Source: Billot et al., SynthSeg, Med. Image Anal. 86 (2023), 102789.
"""
