"""A stand-in for CUDA graphs on a processor, and what refuses operators that a graph cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = "meta"  # stands for one: its tensors have no values that the processor could look at
aten = torch.ops.aten
WAITING = {  # operators whose result, or its shape, the processor has to be told
    aten._local_scalar_dense, aten.item, aten.nonzero, aten.masked_select, aten.unique_consecutive, aten._unique2,
    aten.equal, aten.is_nonzero, aten.bincount, aten.lift_fresh,
}  # fmt: skip


class NoTables(TorchFunctionMode):
    """Refuses tensors that are made of Python's numbers and sent to a device, which no operator tells of."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        listed = func in (Tensor.__getitem__, Tensor.__setitem__) and any(
            isinstance(one, list | range | tuple) for one in (args[1] if isinstance(args[1], tuple) else args[1:2])
        )
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) or listed:
            raise RuntimeError(f"{func.__name__} of numbers in a recording")
        return func(*args, **(kwargs or {}))


class Refusing(TorchDispatchMode):
    """Raises RuntimeError, as a recording does, at an operator that waits for the device or moves tensors between two."""

    def __enter__(self):
        self._no_tables = NoTables()
        self._no_tables.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._no_tables.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if func.overloadpacket in WAITING:
            raise RuntimeError(f"{func} in a recording")
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):
            if any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]):
                raise RuntimeError(f"{func} by a mask in a recording")
        out = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if len({x.device.type for x in (*given, *made)}) > 1:
            raise RuntimeError(f"{func} between two devices in a recording")
        return out


class _Tape(Refusing):
    """Keeps every operator with the very tensors that it read and wrote, as a graph keeps kernels with addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = super().__torch_dispatch__(func, types, args, kwargs)
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            for was, made in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(was, Tensor) and was.data_ptr() != made.data_ptr():  # no view, and not in place
                    was.copy_(made)


class Recorder:
    """In the place of `record_graph`. A recording computes nothing: what it returns is worthless before it is replayed."""

    def __init__(self) -> None:
        self.sizes: list[tuple[torch.Size, ...]] = []  # of the buffers of each recording

    def __call__(self, call: Callable[..., Tensor], buffers: Sequence[Tensor]) -> tuple[Callable[[], object], Tensor]:
        self.sizes.append(tuple(buffer.shape for buffer in buffers))
        with _Tape() as tape:
            out = call(*buffers)
        out.fill_(float("nan") if out.is_floating_point() else 77)
        return tape.replay, out
