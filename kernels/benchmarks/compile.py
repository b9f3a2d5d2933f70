"""Compile the kernels to Hopper's machine code without a GPU: `python kernels/benchmarks/compile.py [--quick]`.

Prints for each kernel and configuration what decides whether it can be fast: shared memory of a program, registers
of a thread, bytes that spill, and whether the tensor cores' asynchronous products (wgmma) are used. Ends with 1 where
a program has more shared memory than there is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import triton
from iasa_kernels.backward import dkv_kernel, dq_kernel
from iasa_kernels.forward import forward_kernel, padded_width
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

HOPPER = GPUTarget("cuda", 90, 32)
SHARED = 232_448  # bytes of shared memory that a program may have there
KERNELS = {"forward": forward_kernel, "dq": dq_kernel, "dkv": dkv_kernel}
TOKENS = {"q", "k", "v", "out", "grad", "dq", "dk", "dv"}
FLOATS = {"lse", "grad_lse", "delta"}
NUMBERS = {"rows", "plans", "queries", "keys"}


def compile_kernel(name: str, dtype: str, block: int, tile: int, width: int, warps: int, stages: int) -> dict:
    """One kernel that tests bits, for `dtype` "bf16", "fp16" or "fp32"."""
    function = KERNELS[name].fn
    constants = {"BLOCK": block, "TILE": tile, "WIDTH": width, "PADDED": padded_width(width)}
    constants |= {"PARTS": 1, "TESTED": True, "PRECISION": "tf32x3" if dtype == "fp32" else "ieee"}
    if name == "forward":
        constants["CONTINUES"] = False
    types = {}
    for argument in function.arg_names:
        if argument in constants:
            types[argument] = "constexpr"
        elif argument in TOKENS:
            types[argument] = f"*{dtype}"
        elif argument in FLOATS:
            types[argument] = "*fp32"
        elif argument.endswith("_bits"):
            types[argument] = "*u8"
        elif argument == "scale":
            types[argument] = "fp32"
        else:
            types[argument] = "i32" if argument in NUMBERS else "*i32"
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.values()) if kind.startswith("*")}
    source = ASTSource(
        function, types, {(function.arg_names.index(c),): value for c, value in constants.items()}, aligned
    )
    compiled = triton.compile(source, target=HOPPER, options={"num_warps": warps, "num_stages": stages})
    usage = {part.split(":")[0]: part.split(":")[1] for part in resources(compiled.asm["cubin"])}
    return {
        "shared": compiled.metadata.shared,
        "registers": int(usage["REG"]),
        "spilled": int(usage["STACK"]),
        "wgmma": "wgmma" in compiled.asm["ptx"],
    }


def resources(cubin: bytes) -> list[str]:
    """Like ["REG:219", "STACK:0", ...], as cuobjdump (it comes with Triton) reports them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [word for word in text.split() if word.startswith(("REG:", "STACK:"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small configuration of each kernel")
    quick = parser.parse_args().quick
    if quick:
        cases = [(name, "bf16", 32, 32, 32, 4, 2) for name in KERNELS]
    else:
        sizes = (("bf16", 128, 128), ("bf16", 64, 128), ("bf16", 64, 64), ("fp32", 64, 64), ("fp32", 64, 128))
        cases = [
            (name, dtype, block, 64, width, 8 if block * width > 128 * 64 else 4, 1 if (dtype, width) == ("fp32", 128) else 2)
            for name in KERNELS
            for dtype, block, width in sizes
        ]
    print("| kernel | type | block | tile | width | warps | stages | shared bytes | registers | spilled | wgmma |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    fits = True
    for name, *case in cases:
        use = compile_kernel(name, *case)
        figures = [*case, use["shared"], use["registers"], use["spilled"], "yes" if use["wgmma"] else "no"]
        print(f"| {name} | " + " | ".join(map(str, figures)) + " |", flush=True)
        fits = fits and use["shared"] <= SHARED
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
