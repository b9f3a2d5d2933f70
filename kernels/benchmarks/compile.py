"""Compile the kernels to Hopper's machine code without a GPU: `python kernels/benchmarks/compile.py [--quick]`.

Prints for each kernel and configuration what decides whether it can be fast: shared memory of a program, registers of
a thread, bytes that spill anywhere, and of every loop over tiles (whole, ragged, tested) the instructions of a warp for 64
tokens, the products (HGMMA), how often it waits for them, and loads and stores of what spills inside. "serial" marks a program
whose asynchronous products ptxas makes synchronous (its warning C7515): one wait for each product, and nothing overlaps.
Ends with 1 where a program has more shared memory than there is, its products are serialised, or a forward pass of 16-bit
numbers spills.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

import triton
from iasa_kernels.backward import dkv_kernel, dq_kernel
from iasa_kernels.forward import forward_kernel
from iasa_kernels.kept_gradients import kept_dq_kernel
from iasa_kernels.primitives import HAS_GLUON, split_width
from iasa_kernels.tiles import TAIL
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource, CompiledKernel

if HAS_GLUON:
    from iasa_kernels.gluon_forward import REGISTERS, ROWS, gluon_kernel, layout_of, slots_of
    from triton.experimental.gluon._runtime import GluonASTSource

HOPPER = GPUTarget("cuda", 90, 32)
SHARED = 232_448  # bytes of shared memory that a program may have there
KERNELS = {
    "forward": forward_kernel, "dq": dq_kernel, "dkv": dkv_kernel, "dkv keeping": dkv_kernel, "dq of kept": kept_dq_kernel,
}  # fmt: skip
TOKENS = {"q", "k", "v", "out", "grad", "dq", "dk", "dv", "kept"}
FLOATS = {"lse", "grad_lse", "level", "delta"}
NUMBERS = {"rows", "plans", "queries", "keys", "kept_rows"}
SERIALISED = "C7515"  # ptxas: wgmma instructions are serialised


class Loop(NamedTuple):
    """An innermost loop with tensor-core products."""

    instructions: int
    products: int  # HGMMA instructions
    waits: int  # for them
    spills: int  # loads and stores of what does not fit in registers


def compile_kernel(
    name: str,
    dtype: str,
    block: int,
    tile: int,
    width: int,
    warps: int,
    stages: int,
    tested: bool = True,
    boxes: bool = False,
) -> dict:
    """One kernel, with or without the test of bits, for `dtype` "bf16", "fp16" or "fp32"."""
    if name == "gluon":
        return compile_gluon(dtype, block, tile, width, stages, tested)
    function = KERNELS[name].fn
    main, rest = split_width(width)
    constants = {"BLOCK": block, "TILE": tile, "TAIL": min(tile, TAIL), "WIDTH": width, "MAIN": main, "REST": rest}
    constants |= {"PARTS": 1, "TESTED": tested, "PRECISION": "tf32x3" if dtype == "fp32" else "ieee"}
    constants |= {"KEEPS": 0 if name == "dkv" else block}
    if name == "dkv":
        constants |= {"kept": None, "offset": None, "tested_offset": None}
    constants = {key: value for key, value in constants.items() if key in function.arg_names}
    shapes = {}  # of the copy engine's boxes
    if name == "forward":
        constants |= {"CONTINUES": False, "BOXES": boxes, "only": None}
        for box, columns in (("key_box", main), ("key_rest_box", rest), ("value_box", main), ("value_rest_box", rest)):
            if boxes and columns:
                shapes[box] = f"tensordesc<{dtype}[{tile}, {columns}]>"
            else:
                constants[box] = None
    types = {}
    for argument in function.arg_names:
        if argument in constants:
            types[argument] = "constexpr"
        elif argument in shapes:
            types[argument] = shapes[argument]
        else:
            types[argument] = argument_type(argument, dtype)
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.values()) if kind.startswith("*")}
    source = ASTSource(
        function, types, {(function.arg_names.index(c),): value for c, value in constants.items()}, aligned
    )
    return measure(triton.compile(source, target=HOPPER, options={"num_warps": warps, "num_stages": stages}))


def compile_gluon(dtype: str, block: int, tile: int, width: int, slots: int, tested: bool) -> dict:
    """The forward kernel in Gluon, for `dtype` "bf16" or "fp16"."""
    arguments = gluon_kernel.arg_names
    constants = {"BLOCK": block, "TILE": tile, "WIDTH": width, "SLOTS": slots, "TESTED": tested, "CONTINUES": False}
    constants |= {} if tested else {"q_bits": None}
    types = {}
    for argument in arguments:
        if argument in constants:
            types[argument] = "constexpr"
        elif argument.endswith("box"):
            tokens = tile if argument in ("k_box", "v_box") else ROWS.value
            types[argument] = f"tensordesc<{dtype}[{tokens}, {width}],{layout_of(tokens, width)!r}>"
        else:
            types[argument] = argument_type(argument, dtype)
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.values()) if kind.startswith("*")}
    source = GluonASTSource(
        gluon_kernel, types, {(arguments.index(name),): value for name, value in constants.items()}, aligned
    )
    return measure(triton.compile(source, target=HOPPER, options={"num_warps": 4, "maxnreg": REGISTERS[block]}))


def argument_type(name: str, dtype: str) -> str:
    if name in TOKENS:
        return f"*{dtype}"
    if name in FLOATS:
        return "*fp32"
    if name == "scale":
        return "fp32"
    return "i32" if name in NUMBERS else "*i32"


def measure(compiled: CompiledKernel) -> dict:
    """What decides its speed."""
    usage = dict(word.split(":")[:2] for word in _resources(compiled.asm["cubin"]))
    return {
        "shared": compiled.metadata.shared,
        "registers": int(usage["REG"]),
        "spilled": int(usage["STACK"]),
        "loops": list(product_loops(compiled.asm["cubin"])),
        "serial": SERIALISED in _assembler_log(compiled.asm["ptx"]),
    }


def product_loops(cubin: bytes) -> Iterator[Loop]:
    """The innermost loops that hold tensor-core products, in the order of the program."""
    text = _tool(triton.knobs.nvidia.cuobjdump.path, cubin, "-sass")
    lines = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", text, re.MULTILINE)
    program = [(int(address, 16), text) for address, text in lines]
    back = [(int(m[1], 16), at) for at, text in program if (m := re.search(r"\bBRA\b.*?0x([0-9a-f]+)", text))]
    spans = sorted((first, last) for first, last in back if first < last)
    for first, last in spans:
        if any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans):
            continue  # another loop is inside
        body = [text for at, text in program if first <= at <= last]
        products = sum("HGMMA" in text or "HMMA" in text for text in body)
        if products:
            waits = sum("WARPGROUP.DEPBAR" in text for text in body)
            yield Loop(len(body), products, waits, sum("STL" in text or "LDL" in text for text in body))


def _resources(cubin: bytes) -> list[str]:
    """Like ["REG:219", "STACK:0", ...]."""
    words = _tool(triton.knobs.nvidia.cuobjdump.path, cubin, "-res-usage").split()
    return [word for word in words if word.startswith(("REG:", "STACK:"))]


def _tool(path: str, content: bytes, *options: str, suffix: str = "") -> str:
    """What one of the assembler's tools, which come with Triton, prints of a file with this content."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        command = [path, *options, file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def _assembler_log(ptx: str) -> str:
    """The remarks of ptxas, which Triton keeps to itself."""
    return _tool(
        get_ptxas(HOPPER.arch).path, ptx.encode(), "-arch=sm_90a", "-v", "-lineinfo", "-o", "/dev/null", suffix=".ptx"
    )


def make_row(case: tuple, use: dict) -> str:
    """One line of the table; a loop like 262/16/1/0: instructions for 64 tokens, products, waits, spills.

    The loops are those of whole, ragged and tested tiles; the same three follow for rows with a NaN, in Gluon for the second
    warpgroup, and are left out.
    """
    name, dtype, block, tile, width, warps, stages, tested, boxes = case
    lengths = (tile, min(tile, TAIL), min(tile, TAIL))[: 3 if tested else 2]
    loops = [(round(loop.instructions * 64 / n), *loop[1:]) for loop, n in zip(use["loops"], lengths, strict=False)]
    figures = [name, dtype, block, tile, width, warps, stages, "bits" if tested else "full", "yes" if boxes else "no"]
    figures += [use["shared"], use["registers"], use["spilled"]]
    figures += ["; ".join("/".join(map(str, loop)) for loop in loops), SERIALISED if use["serial"] else "no"]
    return "| " + " | ".join(map(str, figures)) + " |"


def make_cases(quick: bool) -> list[tuple]:
    """(kernel, type, block, tile, width, warps, stages, whether bits are tested, whether the copy engine loads)."""
    if quick:
        cases = [(name, "bf16", 64, 64, 64, 4, 2, name != "dq of kept", False) for name in KERNELS]
        return cases + ([("gluon", "bf16", 64, 64, 64, 8, 4, True, True)] if HAS_GLUON else [])
    forward = (
        ("bf16", 128, 128, 128, 8, 2, False, False), ("bf16", 128, 128, 128, 8, 2, True, False),
        ("bf16", 128, 128, 128, 8, 2, True, True), ("bf16", 128, 64, 128, 8, 3, True, False),
        ("bf16", 128, 64, 128, 8, 3, True, True), ("bf16", 64, 64, 128, 4, 2, True, False),
        ("bf16", 64, 64, 128, 4, 2, True, True), ("bf16", 64, 64, 80, 4, 2, True, False),
        ("bf16", 64, 64, 80, 4, 2, True, True), ("bf16", 64, 64, 64, 4, 2, True, False),
        ("fp32", 64, 64, 64, 4, 2, True, False), ("fp32", 64, 64, 128, 4, 1, True, False),
    )  # fmt: skip
    backward = (
        ("bf16", 128, 64, 128, 8, 2), ("bf16", 64, 64, 128, 4, 2), ("bf16", 64, 64, 80, 4, 2), ("bf16", 64, 64, 64, 4, 2),
        ("fp32", 64, 64, 64, 4, 2), ("fp32", 64, 64, 128, 4, 1),
    )  # fmt: skip
    gluon = [
        ("gluon", dtype, block, tile, width, 4 + block // 16, slots_of(block, tile), tested, True)
        for dtype, block, tile, width, tested in (
            ("bf16", 128, 128, 128, False), ("bf16", 128, 128, 128, True), ("bf16", 128, 64, 128, True),
            ("bf16", 64, 64, 128, True), ("bf16", 64, 64, 64, True), ("fp16", 128, 128, 64, True),
        ) if HAS_GLUON
    ]  # fmt: skip
    return (
        [("forward", *one) for one in forward]
        + gluon
        + [(name, *one, name != "dq of kept", False) for name in KERNELS if name != "forward" for one in backward]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small configuration of each kernel")
    cases = make_cases(parser.parse_args().quick)
    columns = "kernel type block tile width warps stages mask boxes shared registers spilled loops serial".split()
    print("| " + " | ".join(columns) + " |")
    print("|" + len(columns) * "---|")
    good = True
    for case in cases:
        use = compile_kernel(*case)
        print(make_row(case, use), flush=True)
        good = good and use["shared"] <= SHARED and not use["serial"]
        good = good and (case[0] not in ("forward", "gluon") or case[1] == "fp32" or not use["spilled"])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
