"""A program of a kernel in Gluon without a GPU: its partitions, barriers, copies and products, with all their hazards.

The partitions are threads of which one runs at a time; at every barrier, copy and wait for products a random choice says
which goes on. A copy is another such event: its target is NaN from when it is asked for until it arrives. Products read
their operands when they are waited for. Shared memory is NaN at first. Waits that can never end, arrivals beyond a barrier's
count, buffers that do not exist and copies under way at the end are faults.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor


class Fault(Exception):
    """What a GPU would answer with a hang, a wrong result or an illegal address."""


class Stopped(BaseException):
    """Ends the partitions of a program in which another one has failed."""


class Partition(threading.Thread):
    def __init__(self, machine: Machine, function: Callable, arguments: tuple):
        super().__init__(daemon=True)
        self.machine, self.function, self.arguments = machine, function, arguments
        self.turn, self.ready = threading.Semaphore(0), lambda: True
        self.haste = machine.draw_haste()
        self.products: list[Product] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        self.turn.acquire()
        try:
            if not self.machine.stopped:
                self.function(*self.arguments)
                if self.products:
                    raise Fault("a product is not waited for")
        except Stopped:
            pass
        except Exception as error:  # handed on by the machine, in the thread of the test
            self.error = error
        self.machine.partitions.remove(self)
        self.machine.turn.release()

    def pause(self, ready: Callable[[], bool] = lambda: True) -> None:
        """Lets others go on; returns when chosen, at the earliest when `ready`."""
        self.ready = ready
        self.machine.turn.release()
        self.turn.acquire()
        if self.machine.stopped:
            raise Stopped


class Machine:
    """One program of the grid."""

    def __init__(self, program: tuple[int, int], seed: int):
        self.program, self.random = program, random.Random(seed)
        self.turn, self.stopped, self.fenced = threading.Semaphore(0), False, True
        self.copies: list[Callable[[], None]] = []
        self.haste = self.draw_haste()  # of each copy
        self.partitions: list[Partition] = []

    def run(self, function: Callable, arguments: dict) -> None:
        function(**arguments)
        if self.copies:
            raise Fault("copies are under way when the program ends")

    def draw_haste(self) -> float:
        """Some go on at nearly every turn, others hardly ever before they must."""
        return 10 ** self.random.uniform(-2, 1)

    def specialize(self, partitions: list[tuple], warps: list[int], registers: list[int]) -> None:
        assert len(partitions) == len(warps) + 1 == len(registers) + 1
        self.partitions = [Partition(self, *one) for one in partitions]
        started = list(self.partitions)
        for one in started:
            one.start()
        error = None
        while self.partitions:
            able = [one for one in self.partitions if self.stopped or one.ready()]
            if not able and not self.copies:
                error, self.stopped = Fault("every partition waits for ever"), True
                continue
            haste = [one.haste for one in able] + [self.haste] * len(self.copies)
            (chosen,) = self.random.choices(range(len(haste)), haste)
            if chosen >= len(able):
                self.copies.pop(chosen - len(able))()
                continue
            able[chosen].turn.release()
            self.turn.acquire()
            failed = [one.error for one in started if one.error is not None]
            if failed and not self.stopped:
                error, self.stopped = failed[0], True
        if error is not None:
            self.copies.clear()
            raise error


MACHINE: list[Machine] = []  # of the program that runs


def pause(ready: Callable[[], bool] = lambda: True) -> None:
    partition = threading.current_thread()
    if isinstance(partition, Partition):
        partition.pause(ready)


# memory


class Shared:
    def __init__(self, data: Tensor):
        self.data, self.dtype = data, data.dtype

    def index(self, number: int) -> Shared:
        if not 0 <= number < len(self.data):
            raise Fault(f"buffer {number} of {len(self.data)}")
        return Shared(self.data[number])

    def slice(self, start: int, length: int) -> Shared:
        return Shared(self.data[start : start + length])

    def permute(self, order: tuple[int, ...]) -> Shared:
        return Shared(self.data.permute(order))


def allocate(dtype, shape: list[int], layout) -> Shared | Barriers:
    if layout == "barrier":
        MACHINE[-1].fenced = False
        return Barriers(shape[0])
    return Shared(torch.full(shape, torch.nan, dtype=dtype))


class Barriers:
    def __init__(self, number: int):
        self.all = [Barrier() for _ in range(number)]

    def index(self, number: int) -> Barrier:
        if not 0 <= number < len(self.all):
            raise Fault(f"barrier {number} of {len(self.all)}")
        return self.all[number]


class Barrier:
    """A phase ends when `count` have arrived and all expected bytes are there."""

    def init(self, count: int) -> None:
        self.count = self.missing = count
        self.bytes = self.phase = 0

    def change(self, arrivals: int = 0, size: int = 0) -> None:
        self.missing, self.bytes = self.missing - arrivals, self.bytes + size
        if self.missing < 0:
            raise Fault(f"more than {self.count} arrive at a barrier")
        if self.missing == self.bytes == 0:
            self.missing, self.phase = self.count, self.phase ^ 1

    def expect(self, size: int) -> None:
        self.change(size=size)
        self.change(arrivals=1)
        pause()

    def arrive(self, count: int) -> None:
        self.change(arrivals=count)
        pause()

    def wait(self, phase: int) -> None:
        """Until the phase of this parity has ended: the one before the first counts as ended."""
        assert phase in (0, 1)
        pause(lambda: self.phase != phase)


class Box:
    def __init__(self, rows: Tensor, shape: list[int], layout):
        assert rows.data_ptr() % 16 == 0 and rows.stride(1) == 1
        self.rows, self.shape, self.layout, self.dtype = rows, shape, layout, rows.dtype
        self.block_type = SimpleNamespace(nbytes=shape[0] * shape[1] * rows.element_size())


def copy(box: Box, place: list[int], barrier: Barrier, target: Shared) -> None:
    """Rows outside of the tensor are zeros, and count as bytes too."""
    assert list(target.data.shape) == box.shape and target.dtype == box.dtype and place[1] == 0
    if not MACHINE[-1].fenced:
        raise Fault("the copy engine may not know the barriers yet")
    target.data.fill_(torch.nan)

    def arrive() -> None:
        inside = box.rows[place[0] : place[0] + box.shape[0]]
        target.data.zero_()
        target.data[: len(inside)] = inside
        barrier.change(size=-box.block_type.nbytes)

    MACHINE[-1].copies.append(arrive)
    pause()


# products


class Product:
    def __init__(self, compute: Callable[[], Tensor]):
        self.compute, self.result = compute, None


def multiply(a: Tensor | Shared, b: Shared, acc: Tensor, use_acc: bool = True, is_async: bool = False) -> Product:
    def compute() -> Tensor:
        left = a.data if isinstance(a, Shared) else a
        assert left.dtype == b.dtype and acc.dtype == torch.float32 and acc.shape == (64, b.data.shape[1])
        product = left.float() @ b.data.float()
        return product + acc if use_acc else product

    assert is_async
    threading.current_thread().products.append(Product(compute))
    return threading.current_thread().products[-1]


def wait_for_products(outstanding: int, deps: list[Product]) -> Tensor | tuple:
    pause()
    queue = threading.current_thread().products
    while len(queue) > outstanding:
        done = queue.pop(0)
        done.result = done.compute()
    if any(one in queue for one in deps):
        raise Fault("the result of a product is not there yet")
    results = tuple(one.result for one in deps)
    return results[0] if len(results) == 1 else results
