"""The two demo segmenters: tumor on the planning CT; ablation zone on the verification CT beside the planning CT.

Small U-Nets of nnU-Net's kind, trained on lesions and burns that are painted into procedural chests and into
public CTs. They show the whole path; they are not a clinical model.
"""

from export.demo_segmenters.tasks import TASKS, DemoTask
from export.demo_segmenters.training import TrainingPlan, train_demo

__all__ = ["TASKS", "DemoTask", "TrainingPlan", "train_demo"]
