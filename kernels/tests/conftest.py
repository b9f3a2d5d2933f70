"""Before any test here imports Triton: where the kernels lie, and how they are run."""

import os
import sys
from pathlib import Path

import torch

FOLDER = str(Path(__file__).resolve().parents[1])  # of the kernels
if FOLDER not in sys.path:
    sys.path.append(FOLDER)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
os.environ["IASA_KERNELS_TUNE"] = "0"  # one configuration of each kernel: what is tested is the result
