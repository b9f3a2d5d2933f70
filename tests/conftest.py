"""What has to be set before anything imports torch or Triton."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared out; threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

if not torch.cuda.is_available():  # Triton's kernels run in its interpreter
    os.environ["TRITON_INTERPRET"] = "1"
