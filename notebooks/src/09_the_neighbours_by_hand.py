# %% [markdown]
# # 9 · The neighbours, by hand
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/09_the_neighbours_by_hand.ipynb)
#
# **The question.** Five papers make attention over video cheap, each in its own way, and each says that it loses nothing. Written by hand, each is ten lines. What does each of them *bet on*, and what
# happens where the bet is lost?
#
# **You will be able to**
# - write the five patterns: by pose, by persistent blocks, by factors, by clusters, by steps left out;
# - say when each decides, what it looks at, and what it costs to decide;
# - compare them at one density on a network's own queries and keys, with controls;
# - explain why the choice that keeps the most attention need not have the smallest error.
#
# **Time** 90 minutes. **Needs** notebooks 3 and 4 (masks, softmax), and 5 for the last pattern. No GPU. **Papers** [input-aware](https://arxiv.org/abs/2510.02617), [Sparse Forcing](https://arxiv.org/abs/2604.21221),
# [MonarchRT](https://arxiv.org/abs/2602.12271), [Sparse VideoGen2](https://arxiv.org/abs/2505.18875), [Pyramid Attention Broadcast](https://arxiv.org/abs/2408.12588).

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from ipywidgets import Dropdown, interact

from iasa.avatar.speaker import load_speaker
from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import concat_keypoints, load_keypoints, pool_to_latent
from iasa.masks import make_plan
from iasa.paths import POSES
from iasa.pipeline import CoSpeechPipeline
from iasa.teaching import yours

plt.style.use(root / "notebooks" / "course.mplstyle")
few = 2 if FAST else 12  # latent frames, 0.4 s apart; frame 0 before them is the reference
video, speaker = load_keypoints(POSES / "welcome.npz"), load_speaker("bruno")
clip = video[np.concatenate([[i, i + 1] for i in range(20, 20 + 10 * few, 10)])]
poses = pool_to_latent(concat_keypoints(speaker.keypoints[np.zeros(2, int)], clip))
plan = make_plan(poses, TokenGrid(few + 1), MaskOptions(window=0))
pipeline = CoSpeechPipeline.from_pretrained(dtype="float32")
f, n, last = few + 1, 256, few  # frames, tokens of a frame, and the frame that looks

# %%
recorded, frame = [], torch.arange(f * n) // n


def look_on(layer, q, k, v):
    """Dense causal attention over [1, nh, f, n, d], whose queries, keys and values are kept."""
    q, k, v = (x.flatten(2, 3) for x in (q, k, v))
    recorded.extend(zip(q[0, :, -n:], k[0], v[0], q[0], strict=True))
    causal = frame[:, None] >= frame
    return F.scaled_dot_product_attention(q, k, v, attn_mask=causal).unflatten(2, (f, n))


told = pipeline.condition(clip, speaker, "student")
noise = torch.randn(told.base.shape, generator=torch.Generator().manual_seed(0))
noise[:, 0] = told.base[:, 0]
with torch.no_grad():
    pipeline.student(noise, torch.tensor([[0.0] + [1.0] * few]), told, look_on)
weights = [(q @ k.T / q.shape[1] ** 0.5).softmax(1) for q, k, v, _ in recorded]  # dense, [n, f n]
plt.figure(figsize=(9, 2.6))
plt.bar(range(f), torch.stack(weights).mean((0, 1)).view(f, n).sum(1) * 100)
plt.xlabel("frame (0: the reference)")
plt.ylabel("attention (%)")
plt.title(f"where the last frame looks: mean of {len(recorded)} heads")
plt.show()

# %% [markdown]
# One dense pass of the shipped student, and you hold the queries of its last frame, and all keys and values, of every layer and head. Attention is spread almost evenly over the clip, the reference a little above the rest. Keep that in mind.
#
# | pattern | bets that | decides | looks at |
# |---|---|---|---|
# | input-aware | the same part of the body in a like pose matters | once a clip, before the network runs | the poses |
# | Sparse Forcing | some blocks matter to all, for long | in each layer and head, for every frame | mean queries and keys |
# | MonarchRT | attention is nearly a product of two small factors | never: nothing is chosen | - |
# | Sparse VideoGen2 | like queries want like keys | in each layer, head and step | all queries and keys |
# | Pyramid Attention Broadcast | attention changes little from one step to the next | once: a timetable | - |
#
# ## Exercise 1: pairs by pose
# The paper's rule, for the rows of frame $t$. With $N_k(t)$ the $k$ past frames whose poses are nearest (frame 0, the reference, is not among them), and $b$ the region bits:
#
# $$ M_{i,(s,j)} = [s = t] \;\lor\; [s = 0] \;\lor\; \big[s \in N_k(t)\big]\,\big[b_{t,i} \mathbin{\&} b_{s,j} \ne 0\big] . $$
#
# | | |
# |---|---|
# | `distance` | float tensor `[f, f]`, between poses |
# | `bits` | uint8 tensor `[f, n]` |
# | `t`, `k` | ints |
# | returns | bool tensor `[n, (t + 1) * n]`: frame `t`'s tokens, and all keys up to it |

# %% tags=["exercise"]
def pose_pairs(distance: torch.Tensor, bits: torch.Tensor, t: int, k: int) -> torch.Tensor:
    """What each token of frame t may see: bool [n, (t + 1) * n]."""
    ### BEGIN SOLUTION
    n = bits.shape[1]
    pairs = torch.zeros(n, t + 1, n, dtype=torch.bool)
    pairs[:, 0] = pairs[:, t] = True
    nearest = 1 + distance[t, 1:t].argsort()[:k]
    for past in nearest:
        pairs[:, past] = (bits[t][:, None] & bits[past]) != 0
    return pairs.flatten(1)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_pose_pairs

check_pose_pairs(pose_pairs)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Fill a `[n, t + 1, n]` tensor (query, frame, key), and flatten the last two axes in the end. `distance[t, 1:t].argsort()` counts from frame 1.
# </details>
#
# **Predict**: with $k = 4$, what share of all keys does a token of the last frame read on average? And one of the background?
#
# <details><summary>Answer</summary>
#
# 19 % on average. The own frame and the reference alone are 2 of 13, 15 %; that is also what the background reads. The regions of four frames add only 3 points.
# </details>

# %%
def strip(values):
    """A number for each key [f n] as one picture of all frames."""
    pictures = F.pad(values.float().view(f, 16, 16), (0, 1), value=torch.nan)
    return pictures.permute(1, 0, 2).flatten(1)


def show_strips(rows):
    """{title: a number for each key}, one strip a row; each has its own scale, of roots."""
    fig, axes = plt.subplots(len(rows), 1, figsize=(10.5, 1.1 * len(rows) + 0.2), squeeze=False)
    for axis, (title, values) in zip(axes[:, 0], rows.items(), strict=True):
        axis.imshow(strip(values).sqrt(), cmap="magma", aspect="auto", interpolation="none")
        axis.set_title(title, fontsize=11, loc="left", pad=2)
        axis.axis("off")
    plt.show()


by_pose = yours(pose_pairs)(plan.distance, plan.region_bits, last, 4)
hand = int((plan.region_bits[last] & 2).nonzero()[0])  # a token on a hand
ground = int((plan.region_bits[last] == 0).nonzero()[0])
show_strips({"a hand reads": by_pose[hand], "the background reads": by_pose[ground]})
share = by_pose.float().mean().item()
print(f"of all keys: {share:.1%} on average, the background {by_pose[ground].float().mean():.1%}")

# %% [markdown]
# No query and no key was looked at: this mask serves every layer, head and step.
#
# ## Exercise 2: what stays
# Sparse Forcing keeps keys in blocks. Queries and keys are averaged over each, $\bar q_a$ and $\bar k_b$. A new frame sees the **persistent** blocks $P$ of the past, all of them; and of a **window** $L$ of the last frames, its own included, each row takes its best. Afterwards the oldest frame of the window leaves, and the blocks with most attention stay:
#
# $$ A = \operatorname{softmax}\!\big(\bar q\,\bar k^\top / \sqrt d\big) \text{ over } P \cup L, \qquad \text{row } a \text{ keeps } P \text{ and the } K \text{ blocks of } L \text{ with the largest } A_{ab}, $$
#
# $$ P' = \text{the } C \text{ blocks of } P \cup \{\text{frame that leaves } L\} \text{ with the largest } \textstyle\sum_a A_{ab} . $$
#
# | | |
# |---|---|
# | `qc`, `kc` | float tensors `[r, d]`, `[m, d]`: mean queries of the frame's blocks, mean keys of all blocks up to it |
# | `persistent` | bool tensor `[m]`, $P$ |
# | `tiles`, `window` | ints: blocks of a frame, frames of $L$ |
# | `top`, `keep` | ints $K$ and $C$; where there are fewer, all |
# | returns | `(kept, after)`: bool `[r, m]`, and $P'$, bool `[m]` |

# %% tags=["exercise"]
def forcing_step(qc, kc, persistent, tiles: int, window: int, top: int, keep: int):
    """Blocks that each row of a frame keeps, and the persistent blocks after it."""
    ### BEGIN SOLUTION
    frame = torch.arange(len(kc)) // tiles
    near = frame > frame[-1] - window
    scores = qc @ kc.T / qc.shape[1] ** 0.5
    a = scores.masked_fill(~(near | persistent), -torch.inf).softmax(1)
    best = a.masked_fill(~near, -1).topk(min(top, int(near.sum()))).indices
    kept = persistent.expand(a.shape).scatter(1, best, True)
    candidates = persistent | (frame == frame[-1] - window + 1)
    column = a.sum(0).masked_fill(~candidates, -1)
    heavy = column.topk(min(keep, int(candidates.sum()))).indices
    return kept, torch.zeros_like(persistent).index_fill(0, heavy, True)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_forcing_step

check_forcing_step(forcing_step)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `frame = torch.arange(len(kc)) // tiles` says which frame a block is of; `frame > frame[-1] - window` is the window. Give what may not be chosen a score below all others, then `topk`.
# </details>
#
# **Predict**: the video goes on, and only five blocks may stay. Will they be the reference's, for good? Or will they follow?
#
# <details><summary>Answer</summary>
#
# It depends on the head. One that looks at the reference (a picture of the same person, sharp and always there) keeps all four of its blocks to the end; most heads let go of it, and their persistent blocks
# trail behind the window. This is why the choice is made in every head.
# </details>

# %%
index = torch.arange(f * n)
tile = index // n * 4 + index % n // 128 * 2 + index % 16 // 8  # blocks of 8 x 8 tokens
half = max(1, round(share * 4 * f / 2))  # C and K: together as many keys as by pose


def forced(head):
    """Blocks that the last frame keeps [4, blocks], and a picture of all steps [f, blocks]."""
    mean = [torch.zeros(4 * f, 80).index_add(0, tile, recorded[head][i]) / 64 for i in (3, 1)]
    persistent, rows = torch.zeros(0, dtype=torch.bool), []
    for t in range(f):
        persistent = F.pad(persistent, (0, 4))  # the frame's own blocks
        here = mean[0][4 * t : 4 * t + 4], mean[1][: 4 * t + 4]
        kept, after = yours(forcing_step)(*here, persistent, 4, 4, half, half)
        kept, after = (torch.as_tensor(x) for x in (kept, after))
        picture = kept.float().mean(0) + 1.5 * persistent
        rows.append(F.pad(picture, (0, 4 * f - len(picture)), value=torch.nan))
        persistent = after
    return kept, torch.stack(rows), persistent


# %%
heads = {"a head that looks at the reference": 4, "most heads": 10}
fig, axes = plt.subplots(1, 2, figsize=(10.5, 3.6))
for axis, (title, head) in zip(axes, heads.items(), strict=True):
    axis.imshow(forced(head)[1], cmap="magma", aspect="auto", interpolation="none")
    axis.set(xlabel="block of keys (four a frame)", ylabel="frame that looks")
    axis.set_title(f"{title} (number {head})", fontsize=12)
plt.show()
stay = torch.stack([forced(head)[2] for head in range(len(recorded))]).float()
for title, some in (("head 4", stay[4:5]), (f"all {len(stay)} heads", stay)):
    print(f"{title}: {some[:, :4].sum():.0f} of {some.sum():.0f} that stay are the reference's")
if not FAST:  # one head holds it, most let go
    assert stay[4, :4].sum() == 4 and stay[:, :4].sum() < 0.3 * stay.sum()

# %% [markdown]
# Bright columns are persistent, and grow downwards as the video goes on; dim ones are each row's choice in the window.
#
# ## Exercise 3: two factors instead of a choice
# MonarchRT leaves nothing out. A **tile** has $b_1$ rows and $b_2$ columns of tokens; query $(i, j)$ of the tile looks at key $(k, l)$ of tile $f$ by way of key *row* $k$. First each query **row** $k$ looks along the same key row, column by column; then query $(i, j)$ looks at what column $j$ found in each row:
#
# $$ R_{fkj,l} = \operatorname{softmax}_l\!\Big(\tfrac{q_{kj}\cdot k_{fkl}}{\sqrt d}\Big), \quad m_{fkj} = \sum_l R_{fkj,l}\, k_{fkl}, \quad y_{fkj} = \sum_l R_{fkj,l}\, v_{fkl}, \quad H_{fkj} = -\sum_l R_{fkj,l} \log R_{fkj,l}, $$
#
# $$ w_{ij,fk} = \operatorname{softmax}_{(f,k)}\!\Big(\tfrac{q_{ij}\cdot m_{fkj}}{\sqrt d} + H_{fkj}\Big), \qquad o_{ij} = \sum_{f,k} w_{ij,fk}\, y_{fkj} . $$
#
# The first factor has $b_2$ products a query, the second $b_1$, of $b_1 b_2$: a share of $1/b_1 + 1/b_2$.
#
# | | |
# |---|---|
# | `q` | float tensor `[b1, b2, d]`, one tile |
# | `k`, `v` | float tensors `[f, b1, b2, d]` and `[f, b1, b2, e]` |
# | returns | float tensor `[b1, b2, e]` |

# %% tags=["exercise"]
def monarch_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention of a tile of queries by two factors: [b1, b2, e]."""
    ### BEGIN SOLUTION
    q = q / q.shape[-1] ** 0.5
    log_r = torch.einsum("kjd,fkld->fkjl", q, k).log_softmax(-1)
    r = log_r.exp()
    m, y = r @ k, r @ v  # [f, b1, b2, d]: what column j finds in row k of tile f
    h = -(r * log_r).sum(-1)  # [f, b1, b2]
    logits = torch.einsum("ijd,fkjd->ijfk", q, m) + h.permute(2, 0, 1)
    w = logits.flatten(2).softmax(-1).view_as(logits)
    return torch.einsum("ijfk,fkjd->ijd", w, y)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_monarch_attention

check_monarch_attention(monarch_attention)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.einsum` with the letters of the formula: `"kjd,fkld->fkjl"` are all logits of the first factor. `h.permute(2, 0, 1)` is `[j, f, k]`, which fits onto `[i, j, f, k]`.
# </details>
#
# Your function hands out no weights. But attention is linear in $v$: hand in one-hot values, and the weights come out. **Predict**: what will the map of one token look like beside the dense one?
#
# <details><summary>Answer</summary>
#
# Nearly the same, only smoother: every key has a weight, and within a row of keys the weights of the factor are those of the query *row*, not of this query. Nothing is cut out.
# </details>

# %%
def by_factors(head):
    """The weights that the two factors amount to, in tiles of 8 x 16 tokens: [n, f n]."""
    q, k, *_ = recorded[head]
    k, every = k.view(2 * f, 8, 16, 80), torch.eye(f * n).view(2 * f, 8, 16, f * n)
    made = [yours(monarch_attention)(part, k, every) for part in q.view(2, 8, 16, 80)]
    return torch.cat([torch.as_tensor(one).flatten(0, 1) for one in made])


HEAD = 5
factors = by_factors(HEAD)
show_strips({"dense": weights[HEAD][hand], "two factors, 19 % of the products": factors[hand]})
overlap = torch.minimum(factors, weights[HEAD]).sum(1).mean().item()
print(f"the two maps overlap by {overlap:.0%}")

# %% [markdown]
# ## Exercise 4: like to like
# Sparse VideoGen2 groups queries by $k$-means into clusters with means $\bar q_i$, and keys into clusters $K_j$ with means $\bar k_j$. A cluster of queries estimates how much attention each cluster of keys gets, and keeps the largest **until their sum passes** $p$:
#
# $$ P_{ij} = \frac{|K_j| \exp\big(\bar q_i \cdot \bar k_j / \sqrt d\big)}{\sum_{j'} |K_{j'}| \exp\big(\bar q_i \cdot \bar k_{j'} / \sqrt d\big)} . $$
#
# One round of $k$-means: label each token by its nearest mean, then move each mean to the middle of its tokens (a cluster without tokens stays where it is). The labels in the end are those of the last means. Means come from the step before, so that few rounds are enough.
#
# | | |
# |---|---|
# | `q`, `k` | float tensors `[nq, d]`, `[nk, d]` |
# | `cq`, `ck` | float tensors `[Cq, d]`, `[Ck, d]`: means to start from |
# | `rounds`, `p` | int, float |
# | returns | `(q_label, k_label, kept)`: int `[nq]`, int `[nk]`, bool `[Cq, Ck]` |

# %% tags=["exercise"]
def cluster_blocks(q, k, cq, ck, rounds: int, p: float):
    """Clusters of queries and of keys, and which of them meet."""
    ### BEGIN SOLUTION
    def group(x, means):
        for _ in range(rounds):
            label = torch.cdist(x, means).argmin(1)
            means = means.clone()
            for j in label.unique():
                means[j] = x[label == j].mean(0)
        return torch.cdist(x, means).argmin(1), means

    (q_label, cq), (k_label, ck) = group(q, cq), group(k, ck)
    size = torch.bincount(k_label, minlength=len(ck))
    share = (cq @ ck.T / q.shape[1] ** 0.5 + size.log()).softmax(1)
    worth, order = share.sort(1, descending=True)
    enough = worth.cumsum(1) - worth < p  # what came before has not passed p
    return q_label, k_label, torch.zeros_like(enough).scatter(1, order, enough)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_cluster_blocks

check_cluster_blocks(cluster_blocks)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $|K_j| \exp(s)$ is $\exp(s + \log |K_j|)$: add `size.log()` to the logits and take a softmax. With shares sorted, one is kept if the sum of those *before* it is below $p$.
# </details>
#
# **Predict**: colour each key by its cluster. Will clusters be places in the picture, parts of the body, or moments?
#
# <details><summary>Answer</summary>
#
# Mostly places: in this head a place has the same cluster in any two frames five times out of six, because a key says what is there and where, and hardly when. So a cluster gathers a part of the picture over all
# frames, which no tile of a frame can do. The reference, which is no frame of the video, has clusters of its own.
#
# </details>

# %%
def clustered(head, p=0.4):
    """Labels of queries and of keys, and which meet; on average 64 tokens a cluster."""
    q, k, *_ = recorded[head]
    made = yours(cluster_blocks)(q, k, q[::64].clone(), k[::64].clone(), 10, p)
    return [torch.as_tensor(x) for x in made]


def show_clusters(head=HEAD):
    """Keys coloured by their cluster, and what the hand's cluster of queries keeps."""
    q_label, k_label, kept = clustered(head)
    fig, axes = plt.subplots(2, 1, figsize=(10.5, 2.6))
    look = dict(aspect="auto", interpolation="none")
    axes[0].imshow(strip(k_label), cmap="nipy_spectral", **look)
    axes[1].imshow(strip(kept[q_label[hand]][k_label]), cmap="magma", **look)
    axes[0].set_title(f"clusters of keys, head {head}", fontsize=11, loc="left", pad=2)
    axes[1].set_title("what a hand's cluster keeps", fontsize=11, loc="left", pad=2)
    for axis in axes:
        axis.axis("off")
    plt.show()


interact(show_clusters, head=Dropdown(options=list(range(len(recorded))), value=HEAD));

# %%
show_clusters()
label = clustered(HEAD)[1].view(f, n)[1:]
same = (label[:, None] == label).float().mean().item()
print(f"a place has the cluster of the same place in another frame {same:.0%} of the time")
if not FAST:  # clusters are places
    assert same > 0.7

# %% [markdown]
# ## Side by side, at one density
# All four choose, in ways that you wrote. Give each about 19 % of the pairs of the last frame, in every head, and compare with dense attention: the **overlap** of its weights with the dense ones ($\sum \min(A, W)$, for a mask the attention that it keeps), and the **error** of its output, relative. The controls are what makes such a table honest:
#
# - **oracle**: the blocks with most attention, found by computing all of it. No choice of these blocks keeps more.
# - **random blocks**: as many, drawn.
# - **frames at random**: the paper's regions, but not its frames.
# - **the mean**: every key the same weight. It needs no products at all.
#
# **Predict**: which has the smaller error, the oracle's blocks or random ones? And where will the mean stand?
#
# <details><summary>Answer</summary>
#
# Random blocks, by far, though they keep half as much attention. Attention is spread thin over three thousand keys, so an output is an average of very many values, and a fair *sample* of them estimates it better than the
# largest few, which are alike. The mean is the other surprise: it overlaps with dense attention more than any mask does, and errs most, for it lacks the few peaks that make one output differ from another. Only what leaves
# nothing out and keeps the peaks, the two factors, has both. Keeping attention and making small errors are different aims.
#
# </details>

# %%
blocks = 4 * f


def as_weights(head, pairs):
    """Dense weights of the allowed pairs, which again add up to 1."""
    kept = weights[head] * pairs
    return kept / kept.sum(1, keepdim=True)


def ranked(head, score):
    """The best blocks of each row by a score [4, blocks], as pairs [n, f n]."""
    best = torch.zeros(4, blocks, dtype=torch.bool).scatter(1, score.topk(2 * half).indices, True)
    return best[tile[:n]][:, tile]


def by_clusters(head):
    q_label, k_label, kept = clustered(head)
    return kept[q_label][:, k_label]


def tile_mass(head):
    columns = torch.zeros(n, blocks).index_add(1, tile, weights[head])
    return torch.zeros(4, blocks).index_add(0, tile[:n], columns)


# %%
dice = torch.Generator().manual_seed(0)
at_random = yours(pose_pairs)(torch.rand(f, f, generator=dice), plan.region_bits, last, 4)
choices = {
    "by pose": lambda head: by_pose,
    "frames at random": lambda head: at_random,
    "Sparse Forcing": lambda head: forced(head)[0][tile[:n]][:, tile],
    "Sparse VideoGen2": by_clusters,
    "oracle": lambda head: ranked(head, tile_mass(head)),
    "random blocks": lambda head: ranked(head, torch.rand(4, blocks, generator=dice)),
}
parts = {"": torch.ones(n) > 0, "face": (plan.region_bits[last] & 1) > 0}
table = {name: [] for name in ["MonarchRT", *choices, "the mean"]}
for head, (q, k, v, _) in enumerate(recorded):
    maps = {name: (pairs(head).float(), None) for name, pairs in choices.items()}
    maps = {name: (pairs.mean(), as_weights(head, pairs)) for name, (pairs, _) in maps.items()}
    maps["MonarchRT"] = (1 / 8 + 1 / 16, by_factors(head))
    maps["the mean"] = (0.0, torch.full((n, f * n), 1 / (f * n)))
    for name, (pairs, w) in maps.items():
        true, off = weights[head] @ v, (w - weights[head]) @ v
        error = [off[m].norm() / true[m].norm() for m in parts.values()]
        table[name].append([float(pairs), torch.minimum(w, weights[head]).sum(1).mean(), *error])
mean = {name: np.mean(rows, 0) for name, rows in table.items()}

# %%
print("                   pairs  overlap  error  error, face")
for name, (pairs, kept, error, face) in mean.items():
    print(f"{name:18s} {pairs:6.1%}  {kept:6.2f}  {error:6.2f}  {face:6.2f}")
fig, axes = plt.subplots(1, 2, figsize=(10.5, 4), sharey=True)
controls = ("frames at random", "oracle", "random blocks", "the mean")
colours = ["#D55E00" if name in controls else "#0072B2" for name in mean]
shown = ((1, "overlap with dense"), (2, "error of the output"))
for axis, (column, label) in zip(axes, shown, strict=True):
    axis.barh(list(mean), [row[column] for row in mean.values()], color=colours)
    axis.set(xlabel=label, xlim=(0, 0.8))
axes[0].invert_yaxis()
fig.suptitle(f"about {share:.0%} of the pairs; controls in vermilion")
plt.show()
if not FAST:  # the oracle keeps more and errs more; frames by pose are worth no more than any
    oracle, dice = mean["oracle"], mean["random blocks"]
    assert oracle[1] > 1.5 * dice[1] and oracle[2] > 1.3 * dice[2]
    assert mean["the mean"][2] == max(row[2] for row in mean.values())
    assert mean["MonarchRT"][2] < min(row[2] for name, row in mean.items() if name != "MonarchRT")
    assert abs(mean["by pose"][1] - mean["frames at random"][1]) < 0.02

# %% [markdown]
# Read it slowly. The oracle keeps the most attention a choice of blocks can, and its output is worse than that of dice. Masks renormalise what is left: they say *"the rest looks like what I kept"*. A biased choice makes that false. And the regions are worth as much with frames
# drawn at random as with those of like pose, as in [notebook 8](08_real_time.ipynb).
#
# ## What they look like
# **Predict** which strip is whose before you read the titles.
#
# <details><summary>Answer</summary>
#
# Whole frames and body parts: by pose. Square blocks: Sparse Forcing. Scattered tokens that are alike: Sparse VideoGen2. Everything, with rows showing through: MonarchRT.
# </details>

# %% tags=["cover"]
maps = {"dense": weights[HEAD], "by pose": as_weights(HEAD, by_pose), "MonarchRT": factors}
for name in ("Sparse Forcing", "Sparse VideoGen2"):
    maps[name] = as_weights(HEAD, choices[name](HEAD))
show_strips({f"{name}: where a token of a hand looks": w[hand] for name, w in maps.items()})

# %% [markdown]
# ## Does the picture mind?
# One attention output is not a video: layers follow, and errors are averaged or grow. So run the student under each pattern of the package (`attention=`), and compare with its own dense run. Two more controls: attention that hands out the **mean** of all values, and attention that hands out **nothing**.
#
# **Predict**: how far apart will "nothing" and the best pattern be? (45 dB can hardly be seen.)
#
# <details><summary>Answer</summary>
#
# Nothing at all still gives 36 dB, the mean 40: this student gets the reference warped to every pose, and needs attention for little. Dice give 44 dB, the patterns 46 to 55, and their order is not that of the table above: here the oracle is ahead of the dice again.
# A scale begins at its controls: without them 45 dB looks like a success.
# </details>

# %%
from iasa.attention.pattern import Clip, Dense
from iasa.attention.patterns import find_pattern


class Mean(Dense):
    def attend(self, layer, q, k, v):
        return v.mean(2, keepdim=True).expand_as(q)


class Nothing(Dense):
    def attend(self, layer, q, k, v):
        return torch.zeros_like(q)


def play(pattern, model="student", poses=clip, steps=1):
    """Frames under a pattern."""
    options = dict(model=model, num_inference_steps=steps, attention=pattern)
    return np.concatenate(list(pipeline.stream(image=speaker, keypoints=poses, **options).frames))


def psnr(a, b):
    return 10 * np.log10(255**2 / np.square(np.subtract(a, b, dtype=float)).mean())


# %%
known = Clip(plan.grid, (1.0,), causal=True, plan=plan)
names = ["input_aware", "sparse_forcing", "monarch", "svg2", "oracle", "random_blocks"]
names = names[:2] if FAST else names
share = 0.5 if FAST else 0.14  # of the whole matrix: a causal clip has little more than half of it
tested = {name: find_pattern(name).at_density(share, known) for name in names}
tested |= {"the mean": Mean(), "nothing": Nothing()}
whole = play(Dense())
likeness = {name: psnr(play(pattern), whole) for name, pattern in tested.items()}
plt.figure(figsize=(8, 3.6))
colours = ["#0072B2"] * 4 + ["#D55E00"] * 4
plt.barh(list(likeness), list(likeness.values()), color=colours)
plt.gca().invert_yaxis()
plt.xlabel("PSNR to the dense run (dB)")
plt.title(f"{share:.0%} of the attention matrix; controls in vermilion")
plt.show()
for name, pattern in tested.items():
    done = pattern.computed
    print(f"{name:15s} {likeness[name]:5.1f} dB, {done.density:6.1%} of the pairs,", end=" ")
    print(f"planning {done.planning:.2f} s")
if not FAST:  # every pattern is worth more than no attention, and than the mean
    assert likeness["nothing"] < likeness["the mean"] < min(likeness[name] for name in names[:5])

# %% [markdown]
# ## Exercise 5: a timetable
# Pyramid Attention Broadcast leaves no pair out, but whole steps. It needs many: a teacher's, not the one step of a student. Within a window of noise levels an output is computed once and used for `every` steps, itself among them:
#
# $$ o(s) = o(s_0) \quad \text{for } s_0 \le s < s_0 + \text{every}, \text{ as long as the level is within the window.} $$
#
# Outside of the window every step is computed, and its output is lent to none. The first step within is computed.
#
# | | |
# |---|---|
# | `levels` | float array `[steps]`, falling from 1 |
# | `every` | int |
# | `window` | `(low, high)`, both ends within |
# | returns | int array `[steps]`: the step whose output each step uses |

# %% tags=["exercise"]
def broadcast_table(levels: np.ndarray, every: int, window: tuple[float, float]) -> np.ndarray:
    """The step whose output each step uses: int [steps]."""
    ### BEGIN SOLUTION
    table, computed = [], None
    for step, level in enumerate(levels):
        inside = window[0] <= level <= window[1]
        if not inside or computed is None or step - computed >= every:
            computed = step
        table.append(computed)
        if not inside:
            computed = None  # lent to nobody
    return np.array(table)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_broadcast_table

check_broadcast_table(broadcast_table)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Remember the last computed step within the window, `None` outside. A step is computed if it is outside, if nothing is remembered, or if `every` steps have passed.
# </details>
#
# With the table the pattern is six lines: it keeps outputs by layer. **Predict**: in which steps does an attention output change most from one to the next? Does the paper's window, 0.1 to 0.85, leave out the right steps?
#
# <details><summary>Answer</summary>
#
# In the last ones: the paper finds a plateau in the middle, our teacher's outputs change more and more towards the clean picture. For it the *early* steps are the ones to leave out: fewer steps computed, and nearer to the full run.
# But mind the scale: one step's outputs for *all* steps still give 51 dB. This teacher, too, needs attention for little.
# </details>

# %%
class Reuse(Dense):
    """Outputs of some steps are used again; notes how much they change from step to step."""

    def __init__(self, every=1, window=(0.1, 0.85)):
        self.every, self.window = every, window

    def plan(self, clip):
        self.table = yours(broadcast_table)(np.array(clip.levels), self.every, self.window)
        self.kept, self.change = {}, np.zeros(clip.steps)

    def attend(self, layer, q, k, v):
        before, step = self.kept.get(layer), self.call.step
        if self.table[step] == step:
            out = self.kept[layer] = super().attend(layer, q, k, v)
            if before is not None:
                self.change[step] += float((out - before).norm() / out.norm())
        return self.kept[layer]


steps, short = (3, video[20:22]) if FAST else (12, video[20:26])
runs = {"all steps": Reuse()} | {f"every {many}": Reuse(many) for many in (2, 3, 6)}
runs |= {"early: every 3": Reuse(3, (0.6, 1.0)), "one step for all": Reuse(steps, (0.0, 1.0))}
films = {name: play(run, "teacher", short, steps) for name, run in runs.items()}

# %%
from iasa.sampling import make_levels

levels = make_levels(steps)
fig, axes = plt.subplots(1, 2, figsize=(10.5, 3.8))
axes[0].plot(levels[1:], runs["all steps"].change[1:] / len(runs["all steps"].kept) * 100, "o-")
axes[0].axvspan(0.1, 0.85, color="#E69F00", alpha=0.2, label="the paper's window")
axes[0].set(xlabel="noise level", ylabel="change of the output (%)", ylim=0, xlim=(1, 0))
axes[0].legend()
computed = [[step == use for step, use in enumerate(run.table)] for run in runs.values()]
axes[1].imshow(~np.array(computed), cmap="Greys", vmax=2, aspect="auto")
axes[1].set_yticks(range(len(runs)), list(runs))
axes[1].set(xlabel="step (grey: left out)")
axes[1].grid(False)
plt.show()
film, *others = films.values()
close = dict(zip(list(runs)[1:], [psnr(other, film) for other in others], strict=True))
for (name, value), row in zip(close.items(), computed[1:], strict=True):
    print(f"{name:16s} {np.mean(row):4.0%} of the steps, {value:5.1f} dB to all steps")
if not FAST:  # outputs change most at the end, so early steps are the cheaper ones to leave out
    change = runs["all steps"].change
    assert change[-1] > 2 * change[1] and close["early: every 3"] > close["every 3"]

# %% [markdown]
# A trap, in real libraries: with classifier-free guidance every module is called twice a step, told and untold. A cache with *one* place for each module hands the untold call the told one's output; their difference, which guidance enlarges, is 0, and guidance silently ends. Keep outputs by module **and** branch.
#
# ## When each wins
# | pattern | wins | loses |
# |---|---|---|
# | by pose | the plan is free, and known before the run: memory can be freed, kernels prepared | attention that does not follow the body; our networks hardly use the past, so its choice of frames is worth no more than chance here |
# | Sparse Forcing | endless video: what is kept does not grow | anything that is needed again after it was let go |
# | MonarchRT | attention that is spread thin, as here: nothing is cut out | small frames (its share is $1/b_1 + 1/b_2$, 12.5 % at 16 x 16); attention to single keys |
# | Sparse VideoGen2 | attention that is sharp and depends on content; it finds parts over all frames | planning in every call; few tokens (clusters become tiny) and few steps (no warm start) |
# | Pyramid Attention Broadcast | many steps, whatever attention looks like; it combines with all others | few steps: a student has none to leave out |
#
# One network, one clip, one frame and ten lines each: this table says why, not how much. How much, on the teacher and the student, with planning charged: [docs/results/patterns.md](../docs/results/patterns.md). Papers measure at 720p, with tens of thousands of tokens, after fine-tuning, and on attention that is sharper than ours.
#
# ## Summary
# - The patterns as the package runs them: [`InputAware` in iasa/attention/patterns/input_aware.py](../iasa/attention/patterns/input_aware.py), [`SparseForcing` in iasa/attention/patterns/sparse_forcing.py](../iasa/attention/patterns/sparse_forcing.py), [`Monarch` in iasa/attention/patterns/monarch.py](../iasa/attention/patterns/monarch.py), [`SVG2` in iasa/attention/patterns/svg2.py](../iasa/attention/patterns/svg2.py), [`PAB` in iasa/attention/patterns/pab.py](../iasa/attention/patterns/pab.py).
# - A pattern is a bet about attention. State the bet, then look for the clip on which it is lost.
# - Attention kept, error of an output and likeness of a picture are three different measures, in three different orders.
# - Compare at one density, with an oracle, with dice, and with the dullest thing that could work.
#
# ## Further questions
# 1. Make the queries sharper (multiply them by 4) and run the table again. Which patterns gain, which lose, and what happens to the mean?
# 2. Drop $H$ from exercise 3 and measure the error. For which heads does it matter most?
# 3. Combine two: Pyramid Attention Broadcast over Sparse VideoGen2. What is the share of products, and do the errors add up?
# 4. Fill in a sixth row of the first table with an idea of your own, write it as a class with `attend`, and give it to `play`.
#
# **Back to** [the first notebook](01_a_talking_video_as_tokens.ipynb), or on to the patterns in the explorer: `python -m iasa mask --pose iasa/assets/poses/welcome.npz --attention --patterns --out explorer.html`.
