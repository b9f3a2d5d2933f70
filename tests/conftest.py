"""What has to be set before anything imports torch or Triton."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared out; threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402

if not torch.cuda.is_available():  # Triton's kernels run in its interpreter
    os.environ["TRITON_INTERPRET"] = "1"

LONGEST = ("slow", "notebooks")  # marks of tests that take ten seconds of a core and more


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests run where IASA_SLOW=1 is set, as `.ci/run` does."""
    if os.environ.get("IASA_SLOW") == "1":
        return
    skip = pytest.mark.skip(reason="takes long: IASA_SLOW=1 runs it, as .ci/run does")
    for item in items:
        if any(item.get_closest_marker(mark) for mark in LONGEST):
            item.add_marker(skip)
