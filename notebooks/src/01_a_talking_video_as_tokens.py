# %% [markdown]
# # 1 · A talking video as tokens
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/01_a_talking_video_as_tokens.ipynb)
#
# **The question.** Nine seconds of speech go in, a talking person comes out. What does the network in the middle actually handle, how many pieces of it, and
# how many *pairs* of pieces if every piece may look at every other?
#
# **You will be able to**
# - follow speech to features, features to a pose, a pose to a grid of tokens;
# - count the tokens of a video and find the token that shows a given point;
# - compute what dense attention over them costs, in operations and in memory;
# - make your first talking video, on a laptop, in a few minutes.
#
# **Time** 40 minutes. **Needs** Python and NumPy. No GPU. **Paper** Lu, Chen, Xiao and Zhu, [*Input-Aware Sparse Attention for Real-Time Co-Speech Video
# Generation*](https://arxiv.org/abs/2510.02617), SIGGRAPH Asia 2025, sections 1 and 3.

# %% tags=["setup"]
# setup

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import Dropdown, IntSlider, interact

from iasa.avatar.speaker import load_speaker
from iasa.motion import speech_to_keypoints
from iasa.paths import SPEECH
from iasa.pose.skeleton import draw_pose
from iasa.speech import analyse, read_audio

plt.style.use(root / "notebooks" / "course.mplstyle")
audio, rate = read_audio(SPEECH / "welcome.mp3")
speaker = load_speaker("alba")  # drawn: this course shows no real person
fig, axes = plt.subplots(1, 2, figsize=(10, 3.2), width_ratios=[2.6, 1])
axes[0].plot(np.arange(len(audio)) / rate, audio, linewidth=0.4)
axes[0].set(xlabel="time (s)", ylabel="pressure (full scale = 1)", title="in: speech ...")
axes[1].imshow(speaker.image)
axes[1].set(title="... and one picture", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# How the data flows, in the code's own words:
#
# ```
# speech --> features --> keypoints [f, 133, 2] --+--> pose of every latent frame --+
#                                                 |                                 |
#                                                 +--> who may attend whom (plan) --+
#                                                                                   v
# one picture --> latents [c, 16, 16] ---------------> noise --> transformer --> latents --> frames --> video
# ```
#
# ## Speech to features
# The mouth follows the **phones** (the sounds of speech), hands and head follow **accents** (stressed syllables) and pauses. The clip comes with its phones; for
# any other recording they are recognized from the sound.
#
# **Predict** before you run the next cell: which contour changes faster, the opening of the mouth or the loudness? How many accents does a sentence of nine seconds have?
#
# <details><summary>Answer</summary>
#
# Neither by much: both rise and fall with the syllables. The mouth crosses its mean five times a second, the loudness four times. They part where a loud
# consonant has a closed mouth, or a vowel is quiet. The sentence has eleven accents, 1.2 a second: the dotted lines.
# </details>

# %%
notes = json.loads((SPEECH / "welcome.json").read_text())
features = analyse(audio, phones=[tuple(phone) for phone in notes["phones"]])
time = np.arange(features.frames) / features.fps

fig, axis = plt.subplots(figsize=(10, 3.6))
axis.plot(time, features.visemes[:, 0], label="opening of the mouth (0 to 1)")
axis.plot(time, features.energy, label="loudness (0 to 1)")
for when, strength in features.accents:
    axis.axvline(when, color="black", linestyle=":", linewidth=1 + strength)
axis.axvline(-1, color="black", linestyle=":", label="accents")
axis.set(xlim=(0, time[-1]), xlabel="time (s)", ylabel="share of the maximum")
axis.set_title(notes["text"][:70] + "...")
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %%
contours = features.visemes[:, 0], features.energy
mouth, loud = ((np.diff(np.sign(x - x.mean())) != 0).sum() / time[-1] for x in contours)
assert loud < mouth < 1.5 * loud and 4 < mouth < 6, "crossings of the mean, a second"
assert 1 < len(features.accents) / time[-1] < 1.5, "accents a second"

# %% [markdown]
# ## Features to poses
# A motion stage turns features into **keypoints**: 133 points of body, face and hands for each of 25 frames a second. (Notebook 7 looks inside.)
#
# **Predict**: the clip has nine seconds. How many poses, and how many numbers in all?
#
# <details><summary>Answer</summary>
#
# 25 poses a second: 222 poses of 133 points, two coordinates each: 59,052 numbers. The pictures that show the same, 222 of
# 256 x 256 pixels, take 43 million.
# </details>

# %%
motion, poses = speech_to_keypoints(features, speaker.identity, seed=1)
print(f"{len(poses)} poses of {poses.xy.shape[1]} points, {poses.fps:g} a second")

shown = np.linspace(5, len(poses) - 5, 5).astype(int)
fig, axes = plt.subplots(1, len(shown), figsize=(10.5, 2.5))
for axis, t, bones in zip(axes, shown, draw_pose(poses[shown], 300), strict=True):
    axis.imshow(bones)
    axis.set_title(f"{t / poses.fps:.1f} s")
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Pictures to tokens
# A transformer works on **tokens**. An autoencoder packs two video frames of 256 x 256 pixels into one **latent frame**: a grid of 16 x 16 tokens, each a vector
# that stands for 16 x 16 pixels of two frames.
#
# ## Exercise 1: how many tokens?
# A last latent frame that is not full still exists: round up.
#
# $$ \text{tokens} = \Big\lceil \frac{\text{video frames}}{\text{video frames in a latent frame}} \Big\rceil \cdot \text{rows} \cdot \text{columns} . $$
#
# | | |
# |---|---|
# | `video_frames` | int, frames of the video |
# | `per_latent` | int, video frames in a latent frame |
# | `rows`, `cols` | ints, tokens of a latent frame |
# | returns | int |

# %% tags=["exercise"]
def count_tokens(video_frames: int, per_latent: int, rows: int, cols: int) -> int:
    """Tokens of a video."""
    ### BEGIN SOLUTION
    latent_frames = -(-video_frames // per_latent)
    return latent_frames * rows * cols
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_count_tokens

check_count_tokens(count_tokens)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `a // b` rounds down. `-(-a // b)` rounds up; so does `math.ceil(a / b)`.
# </details>
#
# ## Exercise 2: which one is token 12,345?
# The tokens stand in one long sequence: frame after frame, in each frame row after row, in each row from left to right:
#
# $$ \text{token} = \text{frame} \cdot (\text{rows} \cdot \text{cols}) + \text{row} \cdot \text{cols} + \text{column} . $$
#
# Write `locate`, which solves this for frame, row and column.
#
# | | |
# |---|---|
# | `token` | int, position in the sequence |
# | returns | `(frame, row, column)` |

# %% tags=["exercise"]
def locate(token: int, rows: int, cols: int) -> tuple[int, int, int]:
    """Latent frame, row and column of a token."""
    ### BEGIN SOLUTION
    frame, inside = divmod(token, rows * cols)
    row, column = divmod(inside, cols)
    return frame, row, column
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_locate

check_locate(locate)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `divmod(a, b)` gives quotient and remainder at once. Use it twice: first with the tokens of a frame, then with the tokens of a row.
# </details>
#
# ## Exercise 3: which token shows the hand?
# Now the other way round. A keypoint has coordinates $x$ (right) and $y$ (down) from 0 to 1 across the picture. Points may lie outside: take the nearest token then.
#
# | | |
# |---|---|
# | `x`, `y` | floats |
# | `frame`, `rows`, `cols` | ints |
# | returns | int, position in the sequence |

# %% tags=["exercise"]
def token_of(x: float, y: float, frame: int, rows: int, cols: int) -> int:
    """The token that shows a point."""
    ### BEGIN SOLUTION
    row = min(max(int(np.floor(y * rows)), 0), rows - 1)
    column = min(max(int(np.floor(x * cols)), 0), cols - 1)
    return frame * rows * cols + row * cols + column
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_token_of

check_token_of(token_of)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Row 0 of 16 covers $0 \le y < 1/16$: so the row is $\lfloor 16\,y \rfloor$, clipped to 0..15.
# </details>
#
# Your function finds the tokens that the tip of the right index finger passes through during the clip. **Predict**: one token, ten, or half of all 256?
#
# <details><summary>Answer</summary>
#
# Ten of the 256: the hand keeps to its side of the body, but never stays in one token for long.
# </details>

# %%
from iasa.teaching import yours

shows, place = yours(token_of), yours(locate)
tip = poses.xy[:, 120]  # tip of the right index finger, [f, 2]
visits = np.zeros((16, 16))
for t in range(0, len(tip), 2):
    _, row, column = place(shows(*tip[t], 0, 16, 16), 16, 16)
    visits[row, column] += 1
print(f"{(visits > 0).sum()} of 256 tokens")

fig, axis = plt.subplots(figsize=(6, 5))
axis.imshow(speaker.image, extent=(-0.5, 15.5, 15.5, -0.5), alpha=0.5)
image = axis.imshow(np.ma.masked_equal(visits, 0))
axis.plot(*(tip * 16 - 0.5).T, color="#D55E00", linewidth=1.2)
axis.set(xlabel="token column", ylabel="token row", title="where the right fingertip is")
axis.set_xticks(np.arange(16) - 0.5, minor=True)
axis.set_yticks(np.arange(16) - 0.5, minor=True)
axis.grid(which="minor", color="white", linewidth=0.6)
fig.colorbar(image, label="latent frames")
plt.show()

# %% [markdown]
# A second later the same part of the body is in a different token. A pattern that is fixed in the picture ("attend to the same place in earlier frames") misses it. That
# is the reason for *input-aware* attention.
#
# ## What dense attention costs
# In attention ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)) every token compares its query $q$ with every key $k$, and averages values $v$:
#
# $$ o_i = \sum_j \operatorname{softmax}_j\!\Big(\frac{q_i \cdot k_j}{\sqrt d}\Big)\, v_j . $$
#
# ## Exercise 4: operations
# Count multiplications and additions (two for each term of a sum) of the two large products, $q\,k^\top$ and weights times $v$, for all heads of one layer. Leave out the
# softmax, which is small beside them.
#
# | | |
# |---|---|
# | `tokens` | int, $t$ |
# | `heads`, `width` | ints: number of heads and $d$, the width of one head |
# | returns | number of operations |

# %% tags=["exercise"]
def dense_flops(tokens: int, heads: int, width: int) -> int:
    """Operations of one layer of dense attention."""
    ### BEGIN SOLUTION
    return 4 * tokens**2 * width * heads
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_dense_flops

check_dense_flops(dense_flops)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $q\,k^\top$ is a product of $[t, d]$ and $[d, t]$: $t^2$ results, each a sum of $d$ products: $2\,t^2 d$. The second product is as large.
# </details>
#
# **Predict**: ours has 12.5 latent frames a second of 16 x 16 tokens. The paper's public code makes 81 frames of 512 x 512 pixels as 21 latent frames of 32 x 32 tokens. How many tokens is
# that? After how many seconds of *our* video do we have as many?
#
# <details><summary>Answer</summary>
#
# 21 x 32 x 32 = 21,504 tokens, for a clip of three seconds. Ours has 12.5 x 256 = 3,200 tokens a second and reaches 21,504 after
# 6.7 s.
# </details>

# %%
papers = 21 * 32 * 32
print(f"the paper's clip: {papers} tokens, {papers**2 / 1e6:.0f} million pairs")

count, cost = yours(count_tokens), yours(dense_flops)
seconds = np.logspace(0, 2, 60)
tokens = np.array([count(int(s * 25), 2, 16, 16) for s in seconds])
fig, axes = plt.subplots(1, 2, figsize=(10, 3.8))
teacher = np.array([8 * cost(int(t), heads=4, width=80) for t in tokens]) / 1e12
axes[0].loglog(seconds, teacher, label="our teacher: 8 layers, 4 heads")
axes[0].legend()
axes[0].set(xlabel="length of the video (s)", ylabel="operations (10¹²)")
axes[0].set_title("one pass of dense attention")
axes[1].loglog(seconds, tokens.astype(float) ** 2 * 4 / 2**30, label="one matrix, float32")
axes[1].axhline(16, color="black", linestyle="--", label="a laptop of 16 GiB")
axes[1].axvline(papers / 256 / 12.5, color="#D55E00", linestyle=":", label="21,504 tokens")
axes[1].set(xlabel="length of the video (s)", ylabel="memory (GiB)")
axes[1].set_title("the attention matrix of one head")
axes[1].legend(fontsize=11)
plt.show()

# %% [markdown]
# A minute of video is out of reach for a dense matrix, and the cost grows with the *square* of the length.
#
# ### Play: grid and length
# **Predict**: make tokens half as wide and high (32 x 32 of them per frame). How many times more pairs are there?
#
# <details><summary>Answer</summary>
#
# Four times the tokens, sixteen times the pairs.
# </details>

# %%
def price(seconds=8, side=16):
    """Tokens, pairs and operations for a length and a grid."""
    t = count(seconds * 25, 2, side, side)
    values = {"tokens": t, "pairs": t**2, "operations, one layer": cost(t, heads=5, width=64)}
    fig, axis = plt.subplots(figsize=(8, 2.3))
    axis.barh(list(values)[::-1], list(values.values())[::-1], color="#0072B2")
    for y, value in enumerate(list(values.values())[::-1]):
        axis.annotate(f" {value:,}", (value, y), va="center")
    axis.set(xscale="log", xlim=(1, 1e22), xlabel="number")
    axis.set_title(f"{seconds} s at {side} x {side} tokens a latent frame")
    plt.show()


sides = Dropdown(options=[8, 16, 32, 64], value=16)
interact(price, seconds=IntSlider(8, min=1, max=120), side=sides);

# %%
price(8, 16)
price(8, 32)

# %% [markdown]
# ## The way out, in one picture
# Most of these pairs are of no use. From the poses alone the paper decides which frames and which body parts may look at each other. The next three notebooks build this **plan**; here is
# what it looks like for our clip.

# %%
from PIL import Image

from iasa.grid import TokenGrid
from iasa.keypoints import fill_latent, pool_to_latent
from iasa.masks import make_plan
from iasa.masks.plot import draw_plan

latent_poses = pool_to_latent(fill_latent(poses))
plan = make_plan(latent_poses, TokenGrid(len(latent_poses)))
print(f"{plan.grid.tokens} tokens; {plan.density():.2%} of their pairs are kept")
Image.fromarray(draw_plan(plan))

# %% [markdown]
# ## Your first talking video
# Now put it all together with the trained student that ships with the package: speech, poses, plan, **one** denoising step for each latent frame (its teacher takes twenty), and the decoder. The figure shows how long each
# stage takes on this machine. **Predict**: which stage takes longest?
#
# <details><summary>Answer</summary>
#
# With one step a frame no single stage dominates: the denoising network, the decoder and the warping of the picture share the time
# (the bars below). With the teacher's twenty steps the network would be nearly all of it.
# </details>

# %%
import tempfile

from iasa.pipeline import CoSpeechPipeline, generate

length = 0.4 if FAST else 4.0  # seconds
out = Path(tempfile.mkdtemp()) / "talking.mp4"
pipeline = CoSpeechPipeline.from_pretrained(teacher=None)
part = poses[: int(length * 25)]
report = generate(pipeline, audio[: int(length * rate)], speaker, out, keypoints=part)
print(f"{report['frames']} frames, {report['fps']} a second in all")
print(f"{report['density']:.1%} of the token pairs were computed")

# %% tags=["cover"]
import imageio.v3 as iio

frames = iio.imread(out, plugin="pyav")  # uint8 [f, 256, 256, 3]
fig, axes = plt.subplots(1, 5, figsize=(10.5, 2.5))
for axis, t in zip(axes, np.linspace(0, len(frames) - 1, 5).astype(int), strict=True):
    axis.imshow(frames[t])
    axis.set_title(f"{t / 25:.1f} s")
    axis.axis("off")
plt.show()

stages = report["seconds"]
plt.figure(figsize=(8, 2.6))
plt.barh(list(stages), list(stages.values()), color="#0072B2")
plt.xlabel(f"time for {len(frames)} frames (s)")
plt.show()

# %%
from IPython.display import Video

Video(str(out), embed=True)  # with sound

# %% [markdown]
# What you see is an **avatar**, not a photo-real person: the shipped networks are small and were trained on drawn speakers only. The method is the paper's; the
# paper's own figures come from backbones of billions of parameters and a data-centre GPU.
#
# ## A picture speaks
# A **photograph** goes another way ([notebook 13](13_real_people.ipynb)): no network paints it. It is cut into layers, room, body, head and forearms, and the
# same kind of poses moves them. The person below is *rendered*: nobody real is shown in this course.

# %%
from importlib.util import find_spec

if find_spec("mediapipe") is None:
    print("mediapipe, which finds the person in a picture, is missing: the drawn speaker again")
else:
    from iasa.avatar.example_people import find_picture
    from iasa.avatar.speaker import photograph_speaker
    from iasa.media.reader import read_image

    maya = photograph_speaker(read_image(find_picture("maya")), "maya")  # frames of 512 x 512
    print(*maya.describe())
    out = out.with_name("maya.mp4")
    generate(pipeline, audio[: int(length * rate)], maya, out)
Video(str(out), embed=True)

# %% [markdown]
# ## Summary
# - Speech becomes phones, loudness and accents: [`analyse` in iasa/speech/features.py](../iasa/speech/features.py).
# - Features become 133 keypoints a frame: [`speech_to_keypoints` in iasa/motion/__init__.py](../iasa/motion/__init__.py).
# - Two frames of 256 x 256 become 256 tokens: [`TokenGrid` in iasa/grid.py](../iasa/grid.py), [`Autoencoder` in iasa/models/autoencoder.py](../iasa/models/autoencoder.py).
# - Dense attention costs $4\,t^2 d$ operations a head and layer; its matrix outgrows a laptop within a minute of video.
# - The whole path: [`CoSpeechPipeline`, `generate` in iasa/pipeline.py](../iasa/pipeline.py).
#
# ## Further questions
# 1. The linear layers of a transformer cost in proportion to the tokens. At which length does attention cost more than they do, for a width of 320?
# 2. Why does the autoencoder take *two* frames into one latent frame, and not eight? What moves in 0.3 seconds of speech?
# 3. Change `seed` in `speech_to_keypoints`. What stays the same, and what should?
# 4. Generate a video of another speaker (`load_speaker("bruno")`, ...) from the same speech. Which parts of the plan change?
#
# **Next**: [which frames matter?](02_which_frames_matter.ipynb)
