"""Training, stage by stage: data, losses at work, distillation, and what a run leaves behind."""
