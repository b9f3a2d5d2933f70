# %% [markdown]
# # 4 · From mask to speed
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/04_from_mask_to_speed.ipynb)
#
# **The question.** [Notebook 3](03_which_parts_matter.ipynb) ended with a mask that keeps a few per cent of the token pairs. Is attention now thirty times
# faster? Hand the mask to the library's attention and look at the clock.
#
# **You will be able to**
# - explain why a mask saves no time, and what a processor needs instead;
# - pool a mask to blocks, and reorder tokens so that pooling does not fill it up again;
# - store blocks as compressed rows, and run attention over them in ten lines;
# - derive the online softmax, and read a Triton kernel that uses it (run here on the CPU, by Triton's interpreter);
# - find by measurement where sparse attention loses.
#
# **Time** 90 minutes. **Needs** PyTorch basics, softmax. No GPU. **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), section 3.2, blocks of 128 x 128; the kernels:
# [FlashAttention](https://arxiv.org/abs/2205.14135), [FlashInfer](https://arxiv.org/abs/2501.01005).

# %% tags=["setup"]
# setup

# %%
os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: kernels run as Python
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from ipywidgets import Checkbox, Dropdown, interact

from iasa.attention.dense import dense_attention
from iasa.attention.dispatch import sparse_attention
from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import fill_latent, load_keypoints, pool_to_latent
from iasa.masks import make_plan
from iasa.paths import POSES

plt.style.use(root / "notebooks" / "course.mplstyle")
poses = pool_to_latent(fill_latent(load_keypoints(POSES / "welcome.npz")))
small = make_plan(poses[::9][:12], TokenGrid(12, 8, 8), MaskOptions(top_k=3, window=0, block=16))
mask = small.dense()  # bool [768, 768]: 12 frames of 8 x 8 tokens
plt.figure(figsize=(4.8, 4.8))
plt.imshow(mask, cmap="Greys")
plt.xlabel("key token")
plt.ylabel("query token")
plt.title(f"{mask.double().mean():.1%} of the pairs")
plt.show()

# %% [markdown]
# Rows are queries, columns are keys, black is allowed: the dense frames on the diagonal, the reference on the left, and a dust of region pairs.
#
# ## A mask saves nothing
# **Predict**: attention over 12 frames of 16 x 16 tokens, once dense and once with the mask handed to `scaled_dot_product_attention`. Which is faster, by
# what factor?
#
# <details><summary>Answer</summary>
#
# Dense. The mask makes the call slower, not faster: all products are computed anyway, and the mask has to be read as well.
# </details>

# %%
import time


def seconds(function, repeats=3 if FAST else 7):
    """Median wall-clock time of a call, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


frames = 6 if FAST else 12
plan = make_plan(poses[::4][:frames], TokenGrid(frames), MaskOptions(window=0))
q, k, v = torch.randn(3, 1, 4, plan.grid.tokens, 64, generator=torch.Generator().manual_seed(0))
allowed = plan.dense()
dense_time = seconds(lambda: F.scaled_dot_product_attention(q, k, v))
masked_time = seconds(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=allowed))

# %%
plt.figure(figsize=(8, 2.2))
times = [masked_time * 1e3, dense_time * 1e3]
plt.barh(["with the mask", "dense"], times, color=["#D55E00", "#0072B2"])
plt.xlabel("time (ms)")
plt.title(f"{allowed.double().mean():.1%} of the pairs, {masked_time / dense_time:.2f} x the time")
plt.show()

# %% [markdown]
# Nothing like the five times that the pairs promise (a fifth of them are allowed). The masked call computes *every* logit, adds $-\infty$ to most of them, and exponentiates them to zero. Worse, it reads the mask from memory.
#
# Arithmetic is saved only where **whole tiles** of the matrix are skipped: processors multiply tiles, not pairs. So the token mask is **pooled**: cut the matrix
# into blocks, and keep a block if *any* pair in it is allowed. The paper takes blocks of 128 x 128.
#
# ## Exercise 1: pool the mask
# $$ \text{kept}_{ab} = \bigvee_{i \in \text{block } a,\; j \in \text{block } b} \text{mask}_{ij} . $$
#
# | | |
# |---|---|
# | `mask` | bool tensor `[t, t]`; `block` divides `t` |
# | returns | bool tensor `[t / block, t / block]` |

# %% tags=["exercise"]
def pool_blocks(mask: torch.Tensor, block: int) -> torch.Tensor:
    """Which blocks hold an allowed pair: bool [t / block, t / block]."""
    ### BEGIN SOLUTION
    blocks = len(mask) // block
    return mask.view(blocks, block, blocks, block).any(3).any(1)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_pool_blocks

check_pool_blocks(pool_blocks)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A view of shape `[nb, block, nb, block]` has the pairs of block (a, b) at `[a, :, b, :]`. Reduce the two `block` axes with `any`.
# </details>
#
# **Predict**: the small mask keeps about a fifth of the pairs. What share of its 16 x 16 blocks is kept after pooling?
#
# <details><summary>Answer</summary>
#
# Nearly a third, 30 %: half as many again as the pairs. The larger the block, the more pairs it drags in.
# </details>

# %%
from iasa.teaching import yours

sizes = [1, 4, 8, 16, 32, 64]
shares = [yours(pool_blocks)(mask, block).float().mean() * 100 for block in sizes]
plt.figure(figsize=(8, 3.4))
plt.plot(sizes, shares, "o-")
plt.xscale("log", base=2)
plt.xticks(sizes, [str(size) for size in sizes])
plt.xlabel("block (tokens)")
plt.ylabel("blocks kept (%)")
plt.title("tokens in reading order: pooling fills the mask up")
plt.ylim(0)
plt.show()

# %% [markdown]
# The dust is the culprit: in reading order (row by row) a hand touches many blocks, and each becomes full for the sake of a few pairs.
#
# ## Exercise 2: reorder the tokens
# Attention does not care about the order of its tokens, as long as queries, keys and values agree. So sort each frame's tokens by their region bits: equal bits
# next to each other, background (bits 0) last. Frames stay where they are. With $b_i$ the bits of token $i$ of frame $t_i$,
#
# $$ \text{order} = \operatorname{argsort}_i \big(t_i,\; [b_i = 0],\; b_i,\; i\big) \quad \text{(compared from left to right)} . $$
#
# | | |
# |---|---|
# | `bits` | uint8 tensor `[f, n]` |
# | returns | int64 tensor `[f * n]`: `sorted_sequence[i] = sequence[order[i]]`; tokens with equal bits keep their order |

# %% tags=["exercise"]
def sort_tokens(bits: torch.Tensor) -> torch.Tensor:
    """Order that makes tokens of equal region bits contiguous within each frame: int64 [f * n]."""
    ### BEGIN SOLUTION
    f, n = bits.shape
    rank = bits.long()
    rank[bits == 0] = 256  # background last
    order = torch.argsort(rank, dim=1, stable=True)
    return (order + n * torch.arange(f)[:, None]).flatten()
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_sort_tokens

check_sort_tokens(sort_tokens)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.argsort(..., dim=1, stable=True)` gives places within each frame; add `n * t` to turn them into positions of the sequence. Give the background a rank above
# all others first.
# </details>
#
# ### Play: block size and order
# **Predict** the share of kept blocks at size 16 after sorting, then look.
#
# <details><summary>Answer</summary>
#
# 21 %, close to the 19 % of the pairs themselves; in reading order it is 30 %.
# </details>

# %%
order = yours(sort_tokens)(small.region_bits)
sorted_mask = mask[order][:, order]


from matplotlib.colors import ListedColormap


def show_blocks(block=16, sort=True):
    """The mask with its kept blocks shaded."""
    shown = sorted_mask if sort else mask
    kept = yours(pool_blocks)(shown, block).float()
    filled = kept.repeat_interleave(block, 0).repeat_interleave(block, 1)
    fig, axis = plt.subplots(figsize=(4.8, 5))
    colours = ListedColormap(["white", "#9ECAE1", "#08306B"])
    axis.imshow(np.where(shown, 2, filled), cmap=colours, vmin=0, vmax=2)
    axis.set(xlabel="key token", ylabel="query token")
    axis.set_title(f"{'sorted' if sort else 'reading order'}: {kept.mean():.1%} of the blocks")
    plt.show()


interact(show_blocks, block=Dropdown(options=[4, 8, 16, 32, 64], value=16), sort=Checkbox(True));

# %%
show_blocks(16, sort=False)
show_blocks(16, sort=True)

# %% [markdown]
# Dark: allowed pairs. Pale: pairs that a kept block drags in. Sorting packs the dust into few blocks. **Predict** what the full grid (16 x 16 tokens, 111 frames) gives for larger blocks.
#
# <details><summary>Answer</summary>
#
# In reading order the share of kept blocks grows with the block, to 5.3 % at 128, two and a half times the allowed pairs (2.1 %). Sorted, it
# stays at 2.7 %, because a frame has few runs of equal bits.
# </details>

# %%
fig, axis = plt.subplots(figsize=(8, 3.4))
full = make_plan(poses, TokenGrid(len(poses)), MaskOptions(window=0))
table = full.density_table((16, 32, 64, 128))
blocks = [row["block"] for row in table]
shares = {name: [row[name] * 100 for row in table] for name in table[0]}
axis.plot(blocks, shares["block_density_unpermuted"], "s--", label="reading order")
axis.plot(blocks, shares["block_density"], "o-", label="sorted by region")
axis.axhline(full.density() * 100, color="black", linewidth=1, label="pairs allowed")
axis.set(xlabel="block (tokens)", ylabel="blocks kept (%)", ylim=(0, 8))
axis.set_title(f"{len(poses)} frames of 16 x 16 tokens, K = 4")
axis.legend()
plt.show()

# %%
pairs, pool = mask.double().mean(), yours(pool_blocks)
assert pool(mask, 16).double().mean() > 1.4 * pairs, "pooled in reading order: half as many again"
assert pool(sorted_mask, 16).double().mean() < 1.2 * pairs, "sorted: close to the pairs"
unsorted, packed = shares["block_density_unpermuted"][-1], shares["block_density"][-1]
assert unsorted > 220 * full.density(), "at 128: two and a half times the pairs (in %)"
assert packed < 150 * full.density(), "sorted: 1.3 times"

# %% [markdown]
# Sorting brings the block density near the pair density; the larger the block, the more it matters.
#
# ## Exercise 3: a list of blocks
# A matrix of True and False is a wasteful list. **Compressed rows (CSR)** write, for each row of blocks, the columns it keeps, one row after another, and a pointer
# to where each row starts:
#
# ```
# kept     1 0 1        pointer  0 2 2 4      row r keeps columns[pointer[r] : pointer[r + 1]]
#          0 0 0        columns  0 2 0 1
#          1 1 0
# ```
#
# $$ \text{pointer}_0 = 0, \qquad \text{pointer}_{r+1} = \text{pointer}_r + \sum_c \text{kept}_{rc} . $$
#
# | | |
# |---|---|
# | `kept` | bool tensor `[nq, nk]` |
# | returns | `(pointer, columns)`, int64 tensors `[nq + 1]` and `[number of kept blocks]` |

# %% tags=["exercise"]
def to_csr(kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compressed rows of a matrix of kept blocks."""
    ### BEGIN SOLUTION
    pointer = F.pad(kept.sum(1).cumsum(0), (1, 0))
    return pointer, kept.nonzero()[:, 1]
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_to_csr

check_to_csr(to_csr)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The pointer is a running sum of the rows' counts with a 0 in front (`F.pad(x, (1, 0))`). `kept.nonzero()` lists rows and columns in reading order.
# </details>
#
# ## Exercise 4: sparse attention in ten lines
# For each row of blocks: gather the kept key and value blocks, and do ordinary attention with those alone, $\operatorname{softmax}(q k^\top / \sqrt d)\, v$. **One**
# softmax goes over all keys of the row.
#
# | | |
# |---|---|
# | `q`, `k`, `v` | float tensors `[t, d]`, one head, sorted tokens |
# | `pointer`, `columns` | int64 tensors as above; `block` an int |
# | returns | float tensor `[t, d]` |

# %% tags=["exercise"]
def block_attention(q, k, v, pointer, columns, block: int) -> torch.Tensor:
    """Attention of every row of blocks over its kept blocks: [t, d]."""
    ### BEGIN SOLUTION
    keys, values = k.view(-1, block, k.shape[1]), v.view(-1, block, v.shape[1])
    out = torch.empty_like(q)
    for row in range(len(pointer) - 1):
        chosen = columns[pointer[row] : pointer[row + 1]]
        here = slice(row * block, (row + 1) * block)
        logits = q[here] @ keys[chosen].flatten(0, 1).T / q.shape[1] ** 0.5
        out[here] = logits.softmax(1) @ values[chosen].flatten(0, 1)
    return out
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_block_attention

check_block_attention(block_attention)

# %% [markdown]
# <details><summary>Hint</summary>
#
# With `keys = k.view(-1, block, d)`, the row's keys are `keys[chosen].flatten(0, 1)`: `[blocks * block, d]`.
# </details>
#
# ## The online softmax
# Your loop gathers all keys of a row before the softmax. A GPU has little fast memory: it wants one block at a time, then to forget it. But a softmax needs the maximum
# and the sum over *all* keys. The way out: keep a running maximum $m$, sum $\ell$ and output $o$ ([Milakov and Gimelshein 2018](https://arxiv.org/abs/1805.02867)), and correct them when a block brings a larger maximum. For a block with
# logits $s$ and values $v$:
#
# $$ m' = \max(m, \max_j s_j), \quad a = e^{m - m'}, \quad p_j = e^{s_j - m'}, \quad \ell' = a\,\ell + \sum_j p_j, \quad o' = a\,o + \sum_j p_j v_j . $$
#
# In the end the answer is $o / \ell$. Nothing is approximated.
#
# ## Exercise 5: attention in one pass
# | | |
# |---|---|
# | `q` | float tensor `[n, d]` |
# | `blocks` | yields pairs `(k, v)`, float tensors `[m, d]`, each once |
# | returns | float tensor `[n, d]`, $\operatorname{softmax}(q k^\top/\sqrt d)\,v$ over all blocks |

# %% tags=["exercise"]
def online_attention(q: torch.Tensor, blocks) -> torch.Tensor:
    """Attention over blocks of keys and values that pass by once: [n, d]."""
    ### BEGIN SOLUTION
    top = q.new_full((len(q), 1), -torch.inf)
    total, out = torch.zeros_like(top), torch.zeros_like(q)
    for k, v in blocks:
        logits = q @ k.T / q.shape[1] ** 0.5
        new = torch.maximum(top, logits.amax(1, keepdim=True))
        shrink, p = torch.exp(top - new), torch.exp(logits - new)
        total = shrink * total + p.sum(1, keepdim=True)
        out = shrink * out + p @ v
        top = new
    return out / total
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_online_attention

check_online_attention(online_attention)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Start with $m = -\infty$: then the first $a = e^{-\infty - m'} = 0$, and nothing special is needed for the first block. Keep `m` and `l` as columns `[n, 1]`.
# </details>
#
# ## The same as a GPU kernel
# First your exercise 5 inside your exercise 4, by your lists of exercise 3, in Python. Below it the same in **Triton**: a program instance for every row of blocks, pointers instead of slices, `tl.load` and `tl.store`
# instead of indexing. With `TRITON_INTERPRET=1` it runs as Python on the CPU, slowly, and can be debugged line by line.

# %%
qs, ks, vs = torch.randn(3, small.grid.tokens, 32, generator=torch.Generator().manual_seed(1))
kept = yours(pool_blocks)(sorted_mask, 16)
pointer, columns = yours(to_csr)(kept)
truth_mask = kept.repeat_interleave(16, 0).repeat_interleave(16, 1)
truth = F.scaled_dot_product_attention(qs, ks, vs, attn_mask=truth_mask)


def attend_row(row):
    """One row of blocks, block by block: [16, 32]."""
    q, k, v = (x.view(-1, 16, 32) for x in (qs, ks, vs))
    blocks = ((k[c], v[c]) for c in columns[pointer[row] : pointer[row + 1]])
    return yours(online_attention)(q[row], blocks)


loop = yours(block_attention)(qs, ks, vs, pointer, columns, 16)
rows = torch.cat([attend_row(row) for row in range(len(pointer) - 1)])
for name, out in (("gathering the blocks of a row", loop), ("block by block", rows)):
    print(f"{name}: largest difference from masked attention {(out - truth).abs().max():.1e}")

# %%
triton_here = importlib.util.find_spec("triton") is not None  # Linux only
if triton_here:
    import triton
    import triton.language as tl

    @triton.jit
    def row_kernel(Q, K, V, OUT, POINTER, COLUMNS, scale, BLOCK: tl.constexpr, D: tl.constexpr):
        row = tl.program_id(0)
        tile = tl.arange(0, BLOCK)[:, None] * D + tl.arange(0, D)[None, :]
        q = tl.load(Q + row * BLOCK * D + tile)
        top = tl.full([BLOCK], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK], tl.float32)
        out = tl.zeros([BLOCK, D], tl.float32)
        for i in range(tl.load(POINTER + row), tl.load(POINTER + row + 1)):
            start = tl.load(COLUMNS + i) * BLOCK * D
            logits = tl.dot(q, tl.trans(tl.load(K + start + tile))) * scale
            new = tl.maximum(top, tl.max(logits, 1))
            shrink, p = tl.exp(top - new), tl.exp(logits - new[:, None])
            total = shrink * total + tl.sum(p, 1)
            out = shrink[:, None] * out + tl.dot(p, tl.load(V + start + tile))
            top = new
        tl.store(OUT + row * BLOCK * D + tile, out / total[:, None])

# %%
if triton_here:
    out = torch.full_like(qs, torch.nan)  # an unwritten row would show
    lists = pointer.int(), columns.int()  # yours
    row_kernel[(len(pointer) - 1,)](qs, ks, vs, out, *lists, 32**-0.5, BLOCK=16, D=32)
    print(f"the kernel: largest difference from masked attention {(out - truth).abs().max():.1e}")
    assert torch.allclose(out, truth, atol=1e-4)
else:
    print("Triton is not installed here (it runs on Linux): read the kernel, and go on")

# %% [markdown]
# The package's kernel adds what a real one needs: blocks of uneven size, region bits tested inside a block, gradients, tuning:
# [`forward_kernel`, `attend` in kernels/iasa_kernels/forward.py](../kernels/iasa_kernels/forward.py).
#
# ## When sparse loses
# On a CPU the package gathers keys for groups of queries (`iasa/attention/dispatch.py`): no mask, no blocks, every allowed pair once.
# **Predict**: dense attention does $f^2$ frame pairs in one large product; the sparse one does few, in many small products. Is sparse faster for 1 frame? For 2? From how many
# frames on?
#
# <details><summary>Answer</summary>
#
# Not for one or two: there is nothing to leave out yet, and the bookkeeping has to be paid for. The break-even lies at a few frames; beyond it the gain grows
# with the length.
# </details>

# %% tags=["cover"]
lengths = [1, 2, 4] if FAST else [1, 2, 3, 4, 6, 8, 12, 16, 24]
dense_ms, sparse_ms = [], []
for length in lengths:
    this = make_plan(poses[::4][:length], TokenGrid(length), MaskOptions(window=0))
    q, k, v = torch.randn(3, 1, 4, this.grid.tokens, 64, generator=torch.Generator().manual_seed(0))
    dense_ms.append(1e3 * seconds(lambda: dense_attention(q, k, v)))
    sparse_ms.append(1e3 * seconds(lambda: sparse_attention(q, k, v, this, backend="cpu")))

fig, axes = plt.subplots(1, 2, figsize=(10.5, 3.8))
axes[0].loglog(lengths, dense_ms, "s--", label="dense")
axes[0].loglog(lengths, sparse_ms, "o-", label="sparse")
axes[0].set(xlabel="latent frames of 256 tokens", ylabel="time of one call (ms)")
axes[0].set_title("measured here, 4 heads of width 64")
axes[0].set_xticks(lengths, [str(length) for length in lengths], minor=False)
axes[0].set_xticks([], minor=True)
axes[0].legend()
axes[1].plot(lengths, np.array(dense_ms) / np.array(sparse_ms), "o-", color="#009E73")
axes[1].axhline(1, color="black", linewidth=1)
axes[1].set(xlabel="latent frames of 256 tokens", ylabel="dense time / sparse time")
axes[1].set_title("above 1: sparse wins")
plt.show()

# %% [markdown]
# Short clips lose or draw: the bookkeeping costs more than the pairs saved. Long clips win, and the gain grows with the length, because the kept pairs grow like $f$ and all
# pairs like $f^2$.
#
# And attention is only part of a network. If it takes a share $a$ of the time and becomes $g$ times faster, everything becomes $1/((1-a) + a/g)$ times faster (Amdahl).
# **Predict**: attention is half of the time, and becomes infinitely fast. How much faster is the network?
#
# <details><summary>Answer</summary>
#
# Twice: the other half stays.
# </details>

# %%
def amdahl(share=0.5):
    """Speed-up of the whole network for a share of attention."""
    gain = np.linspace(1, 40, 200)
    plt.figure(figsize=(8, 3.4))
    for a, style in ((0.25, ":"), (share, "-"), (0.9, "--")):
        plt.plot(gain, 1 / ((1 - a) + a / gain), style, label=f"attention is {a:.0%} of the time")
    plt.xlabel("attention is this many times faster")
    plt.ylabel("the network is this\nmany times faster")
    plt.ylim(1, 9)
    plt.legend()
    plt.show()


amdahl()

# %% [markdown]
# The paper's masks together take the teacher from 1.93 to 4.42 frames a second (section 4), a factor of 2.3; distillation to few steps brings the other factor of 5.7.
#
# ## Summary
# - A mask alone saves nothing; skipped tiles do. Pooling: [`AttentionPlan`, iasa/masks/plan.py](../iasa/masks/plan.py), methods `block_csr`, `permutation`, `density_table`.
# - Sorting tokens by region keeps the blocks few.
# - One row of blocks needs one softmax; the online softmax computes it block by block, exactly.
# - On the CPU: [`sparse_attention` in iasa/attention/dispatch.py](../iasa/attention/dispatch.py) gathers keys for groups of queries.
# - Sparse attention has a break-even: measure it on your machine before you believe a density.
#
# ## Further questions
# 1. Most kept pairs lie inside the frames, where attention is dense. Two results over different keys can be merged by their log-sum-exps:
#    $o = o_A e^{\ell_A - \ell} + o_B e^{\ell_B - \ell}$, $\ell = \log(e^{\ell_A} + e^{\ell_B})$. Derive it from exercise 5.
# 2. A kept block of 64 x 64 may hold one allowed pair. "Pooled" computes and *uses* all pairs, "exact" masks the rest. Which one is the paper's? What changes for the network?
# 3. Rows of blocks keep different numbers of blocks. What does a GPU with 132 processors do near the end of the launch, and what does sorting rows by length change?
# 4. The paper's breakdown has the linear layers become faster through the global mask. A mask alone cannot do that; what would have to happen?
#
# **Next**: the network that does the drawing. [The teacher](05_the_teacher.ipynb).
