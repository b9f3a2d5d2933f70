"""From poses to frames: the causal roll-out, its key cache, and the networks' fast inference twins."""
