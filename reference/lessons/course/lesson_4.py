# %% [markdown]
# # 4 · An attack that learns: how can a loop be a generator?
#
# In a generative adversarial network (GAN) a *generator* makes images and is trained to fool a *critic*, which learns
# to tell them from real ones.  Here the generator is a *loop*: the attack.  It has no weights of its own.  The
# classifier's gradient decides every step, so the classifier's weights are the generator's.
#
# The critic gives an image a score $D_t$ for each class t; lesson 5 trains it.  $D_t > 0$ reads "this is a real t".

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
scores = critic.scores(content.critic, path, 0.2)
assert scores[-1, 9] > scores[0, 9]
figure(
    drawn,
    "A 4 after 0 to 5 steps of the attack towards 9.  Below each image are the "
    "classifier's probability of a 9 and the critic's score as a 9: both rise.",
)

# %% [markdown]
# ## The loop
#
# The attack takes M steps.  Each is lesson 2's, taken at the image that the steps before have led to, and is counted
# only while $p_t < C$ there:
#
# $$\hat x = x + (1 + o) \sum_{m=1}^{M} c_m s_m$$
#
# The *overshoot* $o = 0.05$ goes a little further than the tangent says.  The indicator $c_m$ is 1 until $p_t$ first
# reaches C, and then 0 for good.  The code makes it step by step, from a sigmoid σ, which is above ½ where $p_t < C$:
#
# $$c_m = c_{m-1} \cdot \mathrm{round}(\sigma(C - p_t)) \qquad c_0 = 1$$

# %%
show(unrolled)

# %% [markdown]
# ## What flows, and what does not
#
# Training differentiates $\hat x$ by the weights θ.  Two decisions are made on the way.
#
# **Iterates are constants.**  Each step is taken *at* an image, and that image is held fixed.  The weights still act
# through every step, since w and φ depend on them.  **Why is the signal not lost?**  $\hat x$ is the sum of the
# steps.  What is left out is how an earlier step changes where a later one is taken.  This gradient is called
# *truncated*; the *full* one includes it.
#
# **The indicator is straight-through.**  A function that is 0 or 1 has derivative 0 wherever it has one.  So
# backwards rounding is taken for the identity, and the sigmoid under it keeps its slope.
#
# How much do the two gradients differ?  The code takes the loss softplus(−D_t(x̂)), where softplus(a) = log(1 + eᵃ):
# it is small where the critic takes $\hat x$ for real.  It will be one term of the classifier's loss, the *critic
# term*.

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
drawn = figures.gradient_modes(cosines, [1, 2, 3, 5])
figure(
    drawn,
    "Cosine of the angle between the truncated and the full gradient.  It is 1 for one "
    "step, which has no earlier one, and falls slowly with more.",
)

# %% [markdown]
# ## The mistake that leaves every value right
#
# To *detach* $\hat x$ is to treat it as a constant when differentiating, as adversarial training does with its
# attacked images.  Do it here, and every loss prints the same number as before.  But the gradient of the critic term
# is exactly 0, and the method does nothing.

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
# `python -m reference.lessons exercise unrolled` asks for the loop, and for the function that chooses C and calls it.
#
# <details><summary>Does training need second derivatives?</summary>
#
# Yes.  A step contains the derivative of log p by x, and training differentiates the step by θ.
# </details>
# <details><summary>Why does the loop not clip to [0, 1]?</summary>
#
# The derivative of a clipped pixel is 0.  The evaluation's attack, which nobody differentiates, clips.
# </details>
# <details><summary>Why is the indicator a product over all steps so far, and not the last round(…) alone?</summary>
#
# An image that has arrived has to stay.  With the last factor alone, an image that slips below C again would set off
# once more.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The paper does not say which gradient is meant.  The authors' code is truncated, and so is the default here.
# </details>
