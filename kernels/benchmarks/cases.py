"""What the benchmark measures: each case by itself, `python cases.py '{"kind": ...}'`, its row as JSON in the last line.

A case is a dictionary of plain values, its row the same dictionary and what was found. Kinds: "ceiling" (copy and
product of matrices: what the device can do at most), "speed" (one method at one size) and "correct" (one type, width
and block size against the reference in float64). Several cases may compile at the same time, but only the one that
holds the lock has the device.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, flex_attention

sys.path.append(str(Path(__file__).resolve().parents[1]))

from iasa_kernels import BlockLayout, block_sparse_attention, make_layout, reference_attention, stack_layouts
from iasa_kernels.api import gluon_serves

DENSE = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH}
KEPT_MB = {5: "65536", 7: "0"}  # that the backward pass may keep, so that it has so many products
SAMPLED = 64  # queries of a timed call that are compared with the definition

Call = Callable[[Tensor, Tensor, Tensor], Tensor]


# masks


def blocks_of(tokens: int, block: int) -> tuple[Tensor, Tensor]:
    start = torch.arange(0, tokens, block)
    return start, (tokens - start).clamp_max(block)


def layout_of(kept: Tensor, start: Tensor, size: Tensor, **options) -> BlockLayout:
    """From a dense table of kept blocks."""
    return make_layout(F.pad(kept.sum(1).cumsum(0), (1, 0)), kept.nonzero()[:, 1], start, size, **options)


def random_blocks(rows: int, density: float, seed: int = 0) -> Tensor:
    """As many in every row, the diagonal among them: bool [rows, rows]."""
    score = torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed)).fill_diagonal_(2.0)
    chosen = score.topk(max(1, round(density * rows)), dim=1).indices
    return torch.zeros(rows, rows, dtype=torch.bool).scatter_(1, chosen, True)


def frame_layout(
    frames: int, tokens: int, block: int, tile: int = 64, two_pass: bool = False, seed: int = 0
) -> BlockLayout:
    """The structure of IASA's plans: blocks stay in their frame, a fifth of each frame's blocks looks at the past."""
    generator = torch.Generator().manual_seed(seed)
    first, first_size = blocks_of(tokens, block)
    start = (first + tokens * torch.arange(frames)[:, None]).flatten()
    frame = torch.arange(frames).repeat_interleave(len(first))
    place = torch.arange(len(first)).repeat(frames)
    past = torch.zeros(frames, frames, dtype=torch.bool)
    for t in range(1, frames):
        past[t, torch.randperm(t, generator=generator)[:4]] = True
    active = place < max(1, len(first) // 5)
    sees_whole = (frame[:, None] == frame) | (frame == 0) & (frame[:, None] > 0)
    kept = sees_whole | (past[frame[:, None], frame] & active[:, None] & active)
    rows, columns = kept.nonzero(as_tuple=True)
    bits = (1 << torch.randint(0, 5, (frames * tokens,), generator=generator)).to(torch.uint8)
    return layout_of(
        kept, start, first_size.repeat(frames), full=sees_whole[rows, columns], q_bits=bits, k_bits=bits,
        tile=tile, segments=frames if two_pass else 0, sink=two_pass,
    )  # fmt: skip


def matrix_masks(block: int) -> Iterator[tuple[str, BlockLayout]]:
    """Short last blocks, tested blocks, empty rows, one full row, a mask for every head, two passes."""
    tokens = 5 * block - block // 2 - 1
    start, size = blocks_of(tokens, block)
    bits = torch.randint(1, 8, (tokens,), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    kept = random_blocks(5, 0.6)
    tested = torch.zeros(int(kept.sum()), dtype=torch.bool)
    yield "full", layout_of(kept, start, size, tile=128 if block == 128 else 64)
    yield "tested", layout_of(kept, start, size, full=tested, q_bits=bits, k_bits=bits)
    one = torch.zeros(5, 5, dtype=torch.bool)
    one[2] = True
    yield "one row", layout_of(one, start, size)
    yield "per head", stack_layouts([layout_of(random_blocks(5, 0.4, seed), start, size) for seed in range(2)])
    yield "two passes", frame_layout(3, 2 * block - 3, block, two_pass=True)


# methods


def make_method(case: dict) -> tuple[Call, BlockLayout | None, float]:
    """(call, its layout, share of the pairs that it computes)."""
    n = case["frames"] * case["tokens"]
    method, device = case["method"], case["device"]
    if method == "dense":
        return dense_call(DENSE[case["kernel"]]), None, 1.0
    if method == "flex":
        start, size = blocks_of(n, 128)
        kept = random_blocks(len(start), case["density"])
        return flex_call(kept, n, device), None, float((kept * size[:, None] * size).sum()) / n**2
    if method == "blocks":
        start, size = blocks_of(n, case["block"])
        layout = layout_of(random_blocks(len(start), case["density"]), start, size, tile=case["tile"])
    else:
        layout = frame_layout(case["frames"], case["tokens"], case["block"], case["tile"], case.get("two_pass", False))
    layout = layout.to(device)
    return sparse_call(layout, case.get("sorts", False)), layout, layout.density()


def dense_call(kernel: SDPBackend) -> Call:
    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(kernel):
            return F.scaled_dot_product_attention(q, k, v)

    return call


def sparse_call(layout: BlockLayout, sorts: bool) -> Call:
    """The kernels; with `sorts` tokens come and go in another order, as in a model that does not sort them once."""
    if not sorts:
        return lambda q, k, v: block_sparse_attention(q, k, v, layout)
    order = torch.randperm(layout.queries, generator=torch.Generator().manual_seed(0)).to(layout.forward.start.device)
    inverse = torch.argsort(order)
    return lambda *qkv: block_sparse_attention(*(x.index_select(2, order) for x in qkv), layout).index_select(
        2, inverse
    )


def flex_call(kept: Tensor, tokens: int, device: str) -> Call:
    names = torch.argsort(kept.to(torch.uint8), dim=1, descending=True, stable=True).int()[None, None]
    counts = kept.sum(1).int()[None, None]
    nothing = torch.zeros_like(counts), names.clone()
    mask = BlockMask.from_kv_blocks(
        *(x.to(device) for x in nothing), counts.to(device), names.contiguous().to(device), BLOCK_SIZE=128,
        mask_mod=every_pair, seq_lengths=(tokens, tokens),
    )  # fmt: skip
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
    return lambda q, k, v: compiled(q, k, v, block_mask=mask)


def every_pair(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """All blocks are full, so this is never run; without a test of pairs, older versions of torch fail."""
    return query >= 0


# measuring


@contextlib.contextmanager
def alone(lock: str | None) -> Iterator[None]:
    """With the device to itself among the cases that hold the same lock."""
    if lock is None:
        yield
        return
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def compile_ahead(call: Call, tensors: list[Tensor], backward: bool) -> None:
    """Compiles every configuration that tuning will try, without running one."""
    from iasa_kernels.backward import dkv_kernel, dq_kernel
    from iasa_kernels.forward import forward_kernel
    from iasa_kernels.kept_gradients import kept_dq_kernel

    kernels = [forward_kernel, dq_kernel, dkv_kernel, kept_dq_kernel]
    warmups = [kernel.warmup for kernel in kernels]
    if os.environ.get("IASA_KERNELS_GLUON") == "1":
        from iasa_kernels.gluon_forward import gluon_kernel

        kernels.append(gluon_kernel)  # not tuned: its warm-up is a run that is told so
        warmups.append(functools.partial(gluon_kernel.run, warmup=True))
    run = {kernel: kernel.run for kernel in kernels}
    for kernel, warm in zip(kernels, warmups, strict=True):
        kernel.run = lambda *arguments, grid, warmup, warm=warm, **options: warm(*arguments, grid=grid, **options)
    try:
        out = call(*tensors)
        if backward:
            torch.autograd.grad(out.sum(), tensors)
    finally:
        for kernel in kernels:
            kernel.run = run[kernel]


def median_seconds(function: Callable[[], object], device: str) -> float:
    """Of 20 calls, or of as many as a second holds but at least 5, with a cold cache.

    Three calls before them do not count: the first one tunes.
    """
    if device == "cpu":
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    for _ in range(3):
        function()
    flush = torch.empty(1 << 26, dtype=torch.int32, device=device)
    times = []
    while len(times) < 5 or (len(times) < 20 and sum(times) < 1):
        flush.zero_()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        function()
        after.record()
        torch.cuda.synchronize()
        times.append(before.elapsed_time(after) / 1e3)
    return sorted(times)[len(times) // 2]


def measure_ceiling(case: dict) -> dict:
    """Bytes a second that a copy moves (read and written), operations a second of a product of square matrices."""
    device, side = case["device"], 8192 if case["device"] == "cuda" else 64
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    source = torch.zeros(1 << (30 if device == "cuda" else 12), dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    copied = median_seconds(lambda: target.copy_(source), device)
    return {
        "copy_bytes": 2 * source.nbytes / copied,
        "product_flops": 2 * side**3 / median_seconds(lambda: a @ b, device),
    }


def measure_speed(case: dict) -> dict:
    """Seconds of a call forward and backward, and how far sampled rows are from the definition."""
    device, n = case["device"], case["frames"] * case["tokens"]
    call, layout, density = make_method(case)
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = tensors = [
        torch.randn(1, case["heads"], n, case["width"], generator=generator, device=device, dtype=torch.bfloat16)
        .requires_grad_()
        for _ in range(3)
    ]  # fmt: skip
    if layout is not None and device == "cuda":
        compile_ahead(call, tensors, backward="gluon" not in case)
    else:
        call(*(x.detach() for x in tensors))  # compiles
    with alone(case.get("lock")):
        with torch.no_grad():
            forward = median_seconds(lambda: call(q, k, v), device)
        row = {"density": density, "forward": forward}
        out = call(q, k, v)
        if layout is not None and not case.get("sorts"):
            row["error"] = sampled_error(q, k, v, out.detach(), layout)
        # FlexAttention has no backward pass on a processor; that after the kernel in Gluon is Triton's
        if "gluon" not in case and not (device == "cpu" and case["method"] == "flex"):
            grad = torch.ones_like(out)
            row["backward"] = median_seconds(lambda: torch.autograd.grad(out, tensors, grad, retain_graph=True), device)
    return row


def sampled_error(q: Tensor, k: Tensor, v: Tensor, out: Tensor, layout: BlockLayout) -> float:
    """Largest error over the largest value of the rows of SAMPLED queries of the first head, in float32."""
    tiles, worst, largest = layout.backward_q.to("cpu"), 0.0, 1e-9
    starts, sizes = tiles.start[0].tolist(), tiles.size[0].tolist()
    for row in torch.linspace(0, len(starts) - 1, min(SAMPLED, len(starts))).long().tolist():
        i = starts[row] + sizes[row] // 2
        seen = torch.zeros(layout.keys, dtype=torch.bool)
        for first, size, tested in tiles.spans(0, row):
            part = slice(first, first + size)
            seen[part] |= True if not tested else (layout.q_bits[0, i] & layout.k_bits[0, part]).cpu() != 0
        seen = seen.to(q.device)
        logits = (k[0, 0].detach().float() @ q[0, 0, i].detach().float()) / q.shape[-1] ** 0.5
        wanted = logits.masked_fill(~seen, -torch.inf).softmax(0) @ v[0, 0].detach().float()
        worst = max(worst, float((out[0, 0, i].float() - wanted).abs().max()))
        largest = max(largest, float(wanted.abs().max()))
    return worst / largest


def check_correct(case: dict) -> dict:
    """For each kind of mask the largest error over the largest value of the output and the gradients."""
    dtype, device = getattr(torch, case["dtype"]), case["device"]
    # Rounding of the output, of the weights and of the products; three tf32 products lose some more bits than one of
    # float32 would.
    bound = (64 if dtype == torch.float32 else 4) * torch.finfo(dtype).eps
    errors = {}
    for name, layout in matrix_masks(case["block"]):
        if name == "two passes" and dtype == (torch.float32 if device == "cuda" else torch.float16):
            continue  # torch's dense kernel there has no such type
        errors[name] = compare(layout.to(device), dtype, case["width"], device)
    return {"bound": bound, "errors": errors, "passed": all(max(e.values()) <= bound for e in errors.values())}


def compare(layout: BlockLayout, dtype: torch.dtype, width: int, device: str) -> dict[str, float]:
    """Largest error over largest value of the output and the gradients; what is not written is NaN."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (torch.randn(1, 2, layout.queries, width, generator=generator).to(device, dtype) for _ in range(4))
    found = []
    for function, convert in ((block_sparse_attention, Tensor.clone), (reference_attention, Tensor.double)):
        leaves = [convert(t).requires_grad_() for t in (q, k, v)]
        with poisoned():
            out = function(*leaves, layout)
            out = out[0] if isinstance(out, tuple) else out
            found.append([out.detach(), *torch.autograd.grad(out, leaves, convert(grad))])
    pairs = zip(("out", "dq", "dk", "dv"), *found, strict=True)
    errors = {name: float((a.double() - b).abs().max() / b.abs().max().clamp_min(1e-9)) for name, a, b in pairs}
    return {name: error if error == error else float("inf") for name, error in errors.items()}


@contextlib.contextmanager
def poisoned() -> Iterator[None]:
    """New tensors hold NaN, so that one that is not written is noticed."""
    fresh = Tensor.new_empty

    def new_empty(*arguments, **options) -> Tensor:
        new = fresh(*arguments, **options)
        return new.fill_(torch.nan) if new.is_floating_point() else new

    Tensor.new_empty = new_empty
    try:
        yield
    finally:
        Tensor.new_empty = fresh


def ask_for_gluon(case: dict) -> None:
    """For the forward pass. Raises RuntimeError where it would silently be Triton's."""
    os.environ["IASA_KERNELS_GLUON"] = "1"
    q = torch.empty(0, case["width"], dtype=getattr(torch, case.get("dtype", "bfloat16")), device=case["device"])
    if not gluon_serves(q, case["block"], case.get("tile", 64)):
        raise RuntimeError(f"the kernel in Gluon does not take this case on {case['device']}")


KINDS = {"ceiling": measure_ceiling, "speed": measure_speed, "correct": check_correct}


def run_case(case: dict) -> dict:
    """The case's row."""
    if case["kind"] == "correct":
        os.environ["IASA_KERNELS_TUNE"] = "0"
    if "gluon" in case:
        ask_for_gluon(case)
    if "products" in case:
        os.environ["IASA_KERNELS_KEPT_MB"] = KEPT_MB[case["products"]]
    return case | KINDS[case["kind"]](case)


if __name__ == "__main__":
    print(json.dumps(run_case(json.loads(sys.argv[1]))))
