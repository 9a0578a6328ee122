"""The two demo segmenters: tumor on the planning CT, ablation zone on the verification CT.

Small U-Nets of nnU-Net's kind, trained on lesions and burns that are painted into procedural chests and into
a few public CTs. They show the whole path; they are not a clinical model.
"""

from export.demo_segmenters.tasks import TASKS, DemoTask
from export.demo_segmenters.training import train_demo

__all__ = ["TASKS", "DemoTask", "train_demo"]
