"""Gluon's language on gluon_machine.py, and gluon_forward.py's own source on that. Layouts in registers are not looked at."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from gluon_machine import MACHINE, Barrier, Box, Fault, Machine, allocate, copy, multiply, wait_for_products
from torch import Tensor

SOURCE = Path(__file__).resolve().parents[1] / "iasa_kernels" / "gluon_forward.py"


class Pointer:
    def __init__(self, memory: Tensor, offset: int | Tensor):
        self.memory, self.offset = memory, offset

    def __add__(self, more: int | Tensor) -> Pointer:
        return Pointer(self.memory, self.offset + more)

    def at(self, mask: Tensor | None) -> Tensor:
        where = torch.as_tensor(self.offset).long()
        where = where if mask is None else torch.where(mask, where, 0)
        if where.numel() and not 0 <= int(where.min()) <= int(where.max()) < len(self.memory):
            raise Fault(f"an address is outside of a tensor of {len(self.memory)}")
        return where


def load(pointer: Pointer, mask: Tensor | None = None, other: float | None = None) -> int | Tensor:
    found = pointer.memory[pointer.at(mask)]
    found = found if mask is None else torch.where(mask, found, torch.full_like(found, other))
    return found if found.ndim else found.item()


def store(pointer: Pointer, value: float | Tensor, mask: Tensor | None = None) -> None:
    where, value = pointer.at(mask), torch.as_tensor(value, dtype=pointer.memory.dtype)
    if mask is not None:
        mask, where, value = torch.broadcast_tensors(mask, where, value)
        where, value = where[mask], value[mask]
    pointer.memory[where] = value


class Whole(int):
    value = property(int)


class Real(float):
    value = property(float)


def jit(function: Callable | None = None, **options):
    if function is None:
        return jit
    return Kernel(function)


class Kernel:
    def __init__(self, function: Callable):
        self.function, self.names = function, function.__code__.co_varnames[: function.__code__.co_argcount]
        self.seeds = itertools.count()

    def __call__(self, *arguments):
        return self.function(*arguments)

    def __getitem__(self, grid: tuple[int, int]) -> Callable:
        def launch(*arguments, num_warps: int, maxnreg: int, **constants) -> None:
            given = [Pointer(x.view(-1), 0) if isinstance(x, Tensor) else x for x in arguments]
            for program in ((i, j) for j in range(grid[1]) for i in range(grid[0])):
                MACHINE.append(Machine(program, next(self.seeds)))
                try:
                    MACHINE[-1].run(self.function, dict(zip(self.names, given, strict=False)) | constants)
                finally:
                    MACHINE.pop()

        return launch


def make_language() -> ModuleType:
    gl = ModuleType("language")
    layout = SimpleNamespace(get_default_for=lambda shape, dtype: None)
    names = {
        "constexpr": lambda x: Whole(x) if isinstance(x, int) else Real(x), "to_tensor": lambda x: x,
        "program_id": lambda axis: MACHINE[-1].program[axis], "static_range": range,
        "arange": lambda first, end, layout: torch.arange(first, end, dtype=torch.int32),
        "full": lambda shape, value, dtype, layout: torch.full(shape, value, dtype=dtype),
        "zeros": lambda shape, dtype, layout: torch.zeros(shape, dtype=dtype),
        "convert_layout": lambda x, layout: x, "load": load, "store": store, "where": torch.where,
        "maximum": torch.maximum, "max": torch.amax, "sum": torch.sum, "exp2": torch.exp2, "log2": torch.log2,
        "NVMMASharedLayout": layout, "allocate_shared_memory": allocate,
        "warp_specialize": lambda *arguments: MACHINE[-1].specialize(*arguments),
        "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
        "int32": torch.int32, "int64": torch.int64,
    }  # fmt: skip
    names |= {name: lambda *shape: None for name in ("NVMMADistributedLayout", "SliceLayout", "DotOperandLayout")}
    vars(gl).update(names)
    return gl


def emulate(change: Callable[[str], str] = str) -> ModuleType:
    """gluon_forward.py on this emulator, its source as `change` returns it."""
    gluon, nvidia, hopper, host = (ModuleType(name) for name in ("gluon", "nvidia", "hopper", "host"))
    gl = make_language()
    vars(gluon).update(jit=jit, language=gl)
    hopper.mbarrier = SimpleNamespace(
        MBarrierLayout=lambda: "barrier", init=Barrier.init, expect=Barrier.expect,
        arrive=lambda barrier, count: barrier.arrive(count), wait=Barrier.wait,
    )  # fmt: skip
    hopper.tma = SimpleNamespace(async_copy_global_to_shared=copy)
    hopper.warpgroup_mma, hopper.warpgroup_mma_wait = multiply, wait_for_products
    hopper.fence_async_shared = lambda: setattr(MACHINE[-1], "fenced", True)
    host.TensorDescriptor = SimpleNamespace(from_tensor=Box)
    root = "triton.experimental.gluon"
    shims = {"": gluon, ".language": gl, ".language.nvidia": nvidia, ".language.nvidia.hopper": hopper}
    shims |= {".nvidia": nvidia, ".nvidia.hopper": host}
    import triton.experimental

    before = {name: sys.modules.get(root + name) for name in shims}
    known = vars(triton.experimental).get("gluon")
    spec = importlib.util.spec_from_loader("emulated_gluon_forward", loader=None)
    module = importlib.util.module_from_spec(spec)
    try:
        sys.modules.update({root + name: shim for name, shim in shims.items()})
        triton.experimental.gluon = gluon
        exec(compile(change(SOURCE.read_text()), str(SOURCE), "exec"), vars(module))
        return module
    finally:
        for name, old in before.items():
            sys.modules.pop(root + name)
            if old is not None:
                sys.modules[root + name] = old
        del triton.experimental.gluon
        if known is not None:
            triton.experimental.gluon = known
