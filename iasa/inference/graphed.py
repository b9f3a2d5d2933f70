"""Calls of a GPU recorded as CUDA graphs: what the processor would launch kernel by kernel is launched as one."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from iasa.inference.fast_codec import FastCodec
from iasa.models.autoencoder import Autoencoder

Call = Callable[..., Tensor]
# record(call, buffers) -> what computes call(*buffers) anew from what the buffers then hold, and the tensor it writes to
Record = Callable[[Call, Sequence[Tensor]], tuple[Callable[[], object], Tensor]]

MOST = 16  # recordings of a call: each holds memory of its own
_recording = threading.Lock()  # one at a time in a process


class _Recorded(NamedTuple):
    buffers: list[Tensor]  # what it reads
    replay: Callable[[], object]
    out: Tensor  # what it writes


def has_graphs(device: torch.device) -> bool:
    """Whether calls are recorded: on a GPU, unless the environment says IASA_CUDA_GRAPHS=0."""
    return device.type == "cuda" and os.environ.get("IASA_CUDA_GRAPHS") != "0"


def record_graph(call: Call, buffers: Sequence[Tensor]) -> tuple[Callable[[], object], Tensor]:
    """A CUDA graph of `call`. Other threads may go on meanwhile, but for waiting for the whole device."""
    graph = torch.cuda.CUDAGraph()
    with _recording, torch.cuda.device(buffers[0].device):
        with torch.cuda.stream(torch.cuda.current_stream()):  # which a recording that fails does not go back to
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                out = call(*buffers)
    return graph.replay, out


class Graphed:
    """`call` of tensors alone, the same results in fewer launches; several threads may ask for it.

    The first call of given shapes and types runs as it is, which also warms up; the second is recorded, on buffers of its
    own, and from then on inputs are copied into these and the recording is replayed. So the call may neither wait for the
    device nor depend on values, and what else it reads must stay where it is. If it cannot be recorded a warning says so,
    and it runs as it is from then on; so it does with shapes beyond the first MOST that come again.
    """

    def __init__(self, call: Call, record: Record = record_graph) -> None:
        self.call = call
        self._record: Record | None = record  # None once it has failed
        self._recorded: dict[Hashable, _Recorded | None] = {}  # by shapes and types; None: seen once
        self._lock = threading.Lock()  # buffers are filled, read and copied from by one at a time

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Tensor:
        key = tuple((x.shape, x.dtype) for x in inputs)
        with self._lock:
            again = key in self._recorded and self._recorded[key] is None
            if again and self._record is not None and sum(map(bool, self._recorded.values())) < MOST:
                self._recorded[key] = self._try(self._record, inputs)
            recorded = self._recorded.setdefault(key, None)
            if recorded is None:
                return self.call(*inputs)
            for buffer, x in zip(recorded.buffers, inputs, strict=True):
                buffer.copy_(x)
            recorded.replay()
            return recorded.out.clone()

    def _try(self, record: Record, inputs: Sequence[Tensor]) -> _Recorded | None:
        buffers = [x.clone() for x in inputs]
        try:
            return _Recorded(buffers, *record(self.call, buffers))
        except RuntimeError as error:
            self._record = None
            reason = str(error).partition("\n")[0]
            warnings.warn(f"no CUDA graph could be recorded, so frames take longer: {reason}", stacklevel=3)
            return None


class GraphedCodec(FastCodec):
    """`FastCodec` on a GPU, each of its calls a graph."""

    def __init__(self, autoencoder: Autoencoder, record: Record = record_graph) -> None:
        super().__init__(autoencoder)
        self._encode, self._decode = (Graphed(call, record) for call in (super().encode, super().decode))

    def encode(self, patches: Tensor) -> Tensor:
        return self._encode(patches)

    def decode(self, latents: Tensor, xy: Tensor, confidence: Tensor, patches: Tensor) -> Tensor:
        return self._decode(latents, xy, confidence, patches)
