# %% [markdown]
# # 4 · An attack that learns: how can a loop be a generator?
#
# In a generative adversarial network a generator makes images, and is trained to fool a critic.  Here the generator is a
# *loop*: the attack.  Its weights are the classifier's own, since the classifier's gradient decides every step.

# %%
import numpy as np

from reference.lessons import figures, page
from reference.lessons.build import figure, show
from reference.method import critic
from reference.method.generator import unrolled

content = page.shipped()
params = content.networks["critic"]
x = content.images[page.DIGIT][None]
t, C = np.array([9]), np.array([0.8])
path = np.concatenate([unrolled(params, x, t, C, steps) for steps in range(6)])
drawn = figures.attack_frames(params, content.critic, path, 9)
figure(
    drawn,
    "A 4 after 0 to 5 steps of the attack towards 9, with the probability of 9 and "
    "the critic's score.",
)

# %% [markdown]
# ## The loop
#
# Each step is lesson 2's.  A step counts only while the example has not arrived, and all counted steps are added:
#
# $$\hat x = x + (1 + o) \sum_{m=1}^{M} c_m s_m$$
#
# with $o = 0.05$, and $c_m = 1$ until $p_t$ first reaches C, then 0 for good.  The code makes $c_m$ step by step, from a sigmoid σ:
#
# $$c_m = c_{m-1} \cdot \mathrm{round}(\sigma(C - p_t)) \qquad c_0 = 1$$

# %%
show(unrolled)

# %% [markdown]
# ## What flows, and what does not
#
# **Iterates are constants.**  Each step is taken *at* an image, and that image is held fixed.  The weights still act through
# every step, since w and φ depend on them.  **Why is the signal not lost?**  $\hat x$ is the sum of the steps.  What is left out
# is how an earlier step changes where a later one is taken.
#
# **The indicator is straight-through.**  A function that is 0 or 1 has no useful derivative.  Forwards it is rounded;
# backwards, rounding is taken for the identity and the sigmoid under it keeps its slope.
#
# How much do the two gradients, truncated and full, differ?

# %%
from autograd import grad

from reference.method.numerics import pick, softplus

small = content.images[::5]
labels = content.labels[::5]
t = (labels + 1) % 10


def critic_term(params, mode, steps):
    C = np.full(len(small), 0.8)
    x_hat = unrolled(params, small, t, C, steps, gradient=mode)
    return softplus(-pick(critic.scores(content.critic, x_hat, 0.2), t)).sum()


def flat(gradient):
    return np.concatenate([a.ravel() for layer in gradient for a in layer])


cosines = []
for steps in (1, 2, 3, 5):
    a = flat(grad(critic_term)(params, "truncated", steps))
    b = flat(grad(critic_term)(params, "full", steps))
    cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
print([f"{c:.2f}" for c in cosines])
assert np.isclose(cosines[0], 1)  # one step has no path
drawn = figures.gradient_modes({"truncated": cosines}, [1, 2, 3, 5])
figure(drawn, "Cosine of the truncated with the full gradient, for 1 to 5 steps.")

# %% [markdown]
# ## The mistake that leaves every value right
#
# Detach $\hat x$, as one is used to for adversarial training.  Every loss prints the same number as before.  The gradient of
# the critic's term is exactly 0, and the method does nothing.

# %%
import warnings

attached = critic_term(params, "truncated", 5)
detached = critic_term(params, "detached", 5)
assert attached == detached
with warnings.catch_warnings():
    # Autograd says that the output does not depend on the weights: that is the point.
    warnings.simplefilter("ignore")
    lost = flat(grad(critic_term)(params, "detached", 5))
print(
    f"attached: loss {attached:.3f}, length of the gradient {np.linalg.norm(a):.3f}"
)
print(
    f"detached: loss {detached:.3f}, length of the gradient {np.linalg.norm(lost):.3f}"
)
assert not lost.any() and a.any()

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise unrolled` asks for the loop.
#
# <details><summary>Is this a second-order method?</summary>
#
# Yes.  A step contains the derivative of log p by x, and training differentiates the step by θ.
# </details>
# <details><summary>Why does the loop not clip to [0, 1]?</summary>
#
# A clipped pixel has no derivative.  The evaluation's attack, which nobody differentiates, clips.
# </details>
# <details><summary>Why is the product of all c, and not the last c alone, multiplied with a step?</summary>
#
# Who has arrived shall stay.  With the last c alone, an image that slips below C again would set off once more.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The paper does not say which gradient is meant.  The authors' code is truncated, and so is the default here.
# </details>
