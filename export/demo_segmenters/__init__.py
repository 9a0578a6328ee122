"""The two demo segmenters: tumor on the planning CT, ablation zone on the verification CT.

Small U-Nets of nnU-Net's kind, trained on phantoms alone: no patient's CT is in them, so every real CT is
one that they never saw. They show the whole path; they are not a clinical model.
"""

from export.demo_segmenters.tasks import TASKS, DemoTask
from export.demo_segmenters.training import train_demo

__all__ = ["TASKS", "DemoTask", "train_demo"]
