"""Headers of NIfTI, MetaImage and NRRD at random, with what each of their statements says, worked out beside them.

About half are faultless. The others differ from their truth by anything from far below to far above what a reader may
pass over, in any one of their statements; or they lack something, or have what is no number.
"""

from __future__ import annotations

import numpy as np

from tests.support.image_files.random_nifti import random_nifti
from tests.support.image_files.random_text_headers import random_metaimage, random_nrrd
from tests.support.image_files.truth import RandomHeader, random_truth


def random_header(seed: int) -> RandomHeader:
    rng = np.random.default_rng(seed)
    make = (random_nifti, random_metaimage, random_nrrd)[int(rng.integers(3))]
    return make(rng, random_truth(rng))
