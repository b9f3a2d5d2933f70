"""What the kernels' callers get wrong is one sentence that names it, before anything is computed."""

from __future__ import annotations

import re

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")

from iasa_kernels import api  # noqa: E402
from kernel_cases import DEVICE, kernels, random_layout, random_qkv  # noqa: E402


def test_bad_layouts_are_named():
    size = torch.tensor([16, 16])
    good = {"row_pointer": torch.tensor([0, 1, 2]), "columns": torch.tensor([0, 1])}
    good |= {"q_start": torch.tensor([0, 16]), "q_size": size}
    bits = torch.zeros(32, dtype=torch.uint8)
    part = torch.tensor([True, False])
    for change, message in (
        ({"columns": torch.tensor([0, 2])}, "columns go from 0 to 2; 0 to 1"),
        ({"row_pointer": torch.tensor([0, 1])}, r"\[2\] and goes from 0 to 1; \[3\], rising from 0 to 2"),
        ({"row_pointer": torch.tensor(2)}, r"row_pointer has shape \[\] and goes from"),
        ({"queries": True}, "the number of queries is True; a whole number"),
        ({"row_pointer": torch.tensor([1, 2, 2])}, "goes from 1 to 2; .* from 0 to 2"),
        ({"row_pointer": torch.tensor([0.0, 1.0, 2.0])}, "row_pointer is torch.float32; one of .*int32"),
        ({"q_size": size / 2}, "q_size is torch.float32"),
        (
            {"row_pointer": torch.tensor([0, 0, 2]), "columns": torch.tensor([1, 1])},
            "row 1 names column 1 more than once",
        ),
        ({"full": part.byte(), "q_bits": bits, "k_bits": bits}, r"full is torch.uint8 \[2\]; torch.bool \[2\]"),
        ({"q_size": torch.tensor([16, 129])}, "16 to 129 tokens; 0 to 128"),
        ({"q_start": torch.tensor([0, 15])}, "overlap"),
        ({"queries": 31}, "from 0 to 32; 0 to 31"),
        ({"tile": 48}, "tile is 48; 16, 32, 64 or 128"),
        ({"full": part}, "q_bits is missing"),
        ({"full": part, "q_bits": bits, "k_bits": bits[:31]}, r"\[31\]; uint8 or int32 \[32\]"),
        ({"full": part[:1], "q_bits": bits, "k_bits": bits}, r"full is torch.bool \[1\]; torch.bool \[2\]"),
        ({"segments": 3}, "32 queries and 32 keys do not make 3"),
        ({"segments": 1}, "512 pairs of full blocks in their own segment; all 1024"),
        ({"segments": 4}, "over the end of a segment of 8"),
        ({"k_start": torch.tensor([0])}, "together"),
        ({"row_pointer": [0, 1, 2]}, "row_pointer is list; a torch tensor"),
        ({"columns": torch.tensor([0, 1]).numpy()}, "columns is ndarray; a torch tensor"),
        ({"columns": torch.tensor([[0], [1]])}, r"columns has shape \[2, 1\]; \[kept blocks\]"),
        ({"columns": torch.tensor([0, 1]).to_sparse()}, "columns is torch.sparse_coo; a dense tensor"),
        ({"columns": torch.tensor([0, 1], device="meta")}, "on cpu, meta; one device that holds values"),
        ({"q_start": torch.tensor([0, 2**31])}, "start at up to 2147483648; 0 to 2147483519"),
        ({"q_start": torch.tensor([0, 2**63 - 5])}, "start at up to 9223372036854775803"),
        ({"queries": 2**40}, "queries is 1099511627776; a whole number from 0 to 2147483519"),
        ({"queries": 32.0}, r"the number of queries is 32.0; a whole number"),
        ({"keys": "32"}, "the number of keys is '32'; a whole number"),
        ({"tile": 64.0}, "tile is 64.0; 16, 32, 64 or 128"),
        ({"segments": 2.0}, "segments is 2.0; a whole number"),
        ({"segments": -1}, "segments is -1; a whole number from 0"),
        ({"sink": True}, "there is a sink and segments is 0"),
        ({"full": [True, False]}, "full is list; a torch tensor"),
        ({"full": part.to("meta")}, "full is on meta; cpu is needed"),
        ({"full": part, "q_bits": [1] * 32, "k_bits": bits}, "q_bits is list; a torch tensor"),
        ({name: torch.zeros(0, dtype=torch.int64) for name in ("q_start", "q_size")}, r"starts \[0\] and sizes \[0\]"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.make_layout(**(good | change))
    layout = kernels.make_layout(**good)
    other = kernels.make_layout(**(good | {"tile": 32}))
    with pytest.raises(ValueError, match=r"tile are \[32, 64\]"):
        kernels.stack_layouts([layout, other])
    for several, message in (
        ([], "no layouts to stack; one or more"),
        (layout, "the layouts are BlockLayout; a list"),
        ([layout, None], r"the layouts are \['BlockLayout', 'NoneType'\]; a list"),
        ([layout, layout.to("meta")], r"the layouts are on \['cpu', 'meta'\]; one device"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.stack_layouts(several)


def test_bad_input_is_named(monkeypatch):
    layout, _ = random_layout([16, 9], seed=1)
    q, k, v = random_qkv(25)
    attend = kernels.block_sparse_attention
    with pytest.raises(ValueError, match="24 queries and 25 keys; the layout is for 25 and 25"):
        attend(q[:, :, :24], k, v, layout)
    with pytest.raises(ValueError, match=r"\[1, 2, 25, 16\], \[1, 2, 25, 16\] and \[1, 2, 25, 8\]"):
        attend(q, k, v[..., :8], layout)
    with pytest.raises(ValueError, match="batch, heads, tokens, width"):
        attend(q[0], k, v, layout)
    with pytest.raises(ValueError, match="float64"):
        attend(q.double(), k.double(), v.double(), layout)
    with pytest.raises(ValueError, match="float16.*float32"):
        attend(q.half(), k, v, layout)
    with pytest.raises(ValueError, match="144 wide; 1 to 128"):
        attend(*random_qkv(25, d=144), layout)
    with pytest.raises(ValueError, match=r"3 plans; 1, 2 \(heads\) or 2"):
        attend(q, k, v, kernels.stack_layouts([layout] * 3))
    with pytest.raises(ValueError, match="one device"):
        attend(*(x.to("meta") for x in (q, k, v)), layout)
    with pytest.raises(ValueError, match="0 wide; 1 to 128"):
        attend(*random_qkv(25, d=0), layout)
    for scale in (float("nan"), float("inf"), 1e300, -1e300):
        with pytest.raises(ValueError, match=f"the scale is {re.escape(str(scale))}; a finite number of up to 1e"):
            attend(q, k, v, layout, scale=scale)
    for bad, message in (
        (None, "q is NoneType; a torch tensor"), (q.cpu().numpy(), "q is ndarray; a torch tensor"),
        (q.to_sparse(), "q is torch.sparse_coo; a dense tensor"), (torch.nested.nested_tensor([q[0]]), "q is nested; a dense"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            attend(bad, k, v, layout)
    for bad in (None, [layout]):
        with pytest.raises(ValueError, match=f"the layout is {type(bad).__name__}; what make_layout or stack_layouts"):
            attend(q, k, v, bad)
    if DEVICE == "cpu":
        monkeypatch.delenv("TRITON_INTERPRET")
        with pytest.raises(ValueError, match="a GPU is needed"):
            attend(q, k, v, layout)
    monkeypatch.setattr(api.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install triton"):
        attend(q, k, v, layout)


def test_results_that_do_not_belong_together_are_named():
    out, lse = torch.zeros(2, 3, 4), torch.zeros(2, 3)
    for bad, message in (
        ((out, lse[:, :2], out, lse), r"shapes \[2, 3, 4\], \[2, 2\] on cpu and \[2, 3, 4\], \[2, 3\] on cpu; "),
        ((out, lse[..., None], out, lse[..., None]), r"\[2, 3, 1\] on cpu .* are needed, both times"),
        ((out, lse, out[..., :2], lse), r"\[2, 3, 2\], \[2, 3\] on cpu; "),
        ((out, lse, out.to("meta"), lse), "on cpu and .* on meta; "),
        ((out, None, out, lse), "lse is NoneType; a torch tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.merge_attention(*bad)
