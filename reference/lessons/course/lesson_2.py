# %% [markdown]
# # 2 · Until it is sure: how far to confidence C?
#
# DeepFool stops as soon as the class has changed, at the boundary.  The attack of the adversary critic goes on until
# the network is *sure* of the wrong class: until the probability of a target class t reaches a confidence C.  How far
# must it go?  One tangent gives a good guess.

# %%
import numpy as np

from reference.lessons import figures, page
from reference.lessons.build import figure, show

content = page.shipped()
params = content.networks["critic"]
x = content.images[page.DIGIT]
figure(
    figures.tangent_step(params, x, 9, 0.8),
    "The logarithm of the probability of a 9 (green) as a 4 moves along w, and its "
    "tangent (dashed).  The step ends where the tangent reaches log C; the curve is "
    "still below log C there.",
)

# %% [markdown]
# ## One Newton step
#
# Let $p_t(x)$ be the probability that the network's softmax gives to class t, and $w = \nabla_x \log p_t(x)$.  Near
# x,
#
# $$\log p_t(x + s) \approx \log p_t(x) + w^\top s .$$
#
# The right side has to be $\log C$, and s as short as possible.  The shortest vector with a given product with w lies
# along w:
#
# $$s = \left( \log C - \log p_t \right) \frac{w}{\lVert w \rVert^2}$$
#
# If, for example, $\log p_t$ has to rise by 5 and w = (1, 2), then s = (1, 2).  **Why is the norm squared?**  Once to
# make w a unit vector, and once because a steep function needs a short step.  **Why the logarithm?**  $p_t$ itself is
# flat where it is near 0, and a tangent there says nothing; $\log p_t$ is not flat.
#
# The code computes w by the chain rule: the gradient of $\log p_t$ by the logits is $e_t - p$, where $e_t$ is 1 at t
# and 0 elsewhere, so that $w = J^\top (e_t - p)$ with J the Jacobian of the logits by x.  Its step holds a small
# number ε against division by 0:
#
# $$s = \left( \sqrt\varepsilon + \frac{\varphi}{n} \right) \frac{w}{n}$$
#
# with $\varphi = |\log p_t - \log C|$ and $n = \sqrt{\varepsilon + \lVert w \rVert^2}$.
#
# Where each pixel is limited separately (L∞ in lesson 1), the step is
# $(\sqrt\varepsilon + \varphi)\, \mathrm{sign}(w) / \lVert w \rVert_1$.

# %%
from reference.method import network
from reference.method.generator import linearise_log_prob, newton_step

show(linearise_log_prob)
show(newton_step)

# %% [markdown]
# ## Does it arrive?
#
# On a function that is linear in x one step would be exact.  The code checks first that the tangent reaches $\log C$,
# and then asks the network itself.


# %%
def f(v):
    return network.logits(params, v)


t, C = np.array([9]), 0.8
log_p, p, w = linearise_log_prob(f, x[None], t)
s = newton_step(log_p, w, np.array([C]), eps=1e-16)
assert np.isclose(log_p[0] + (w * s).sum(), np.log(C), atol=1e-6)
_, after, _ = linearise_log_prob(f, x[None] + s, t)
print(f"p before {p[0]:.4f}, wanted {C}, after one step {after[0]:.4f}")
assert p[0] < after[0] < C

# %% [markdown]
# Is w the gradient?  Move by h·w with a tiny h: $\log p_t$ has to rise by h‖w‖².

# %%
h = 1e-6
ahead, _, _ = linearise_log_prob(f, x[None] + h * w, t)
assert np.isclose((ahead - log_p)[0] / h, (w * w).sum(), rtol=1e-3)

# %% [markdown]
# ## A mistake: dividing by the norm once
#
# With $w / \lVert w \rVert$ in place of $w / \lVert w \rVert^2$ the step still has the right direction.  Its length
# is wrong by the factor ‖w‖.  An attack of several steps may still succeed, and so hide the error.

# %%
once = s * np.linalg.norm(w)
claimed = log_p[0] + (w * once).sum()
print(f"‖w‖ = {np.linalg.norm(w):.2f}")
print(f"log p by the tangent {claimed:.2f}, wanted {np.log(C):.2f}")
assert not np.isclose(claimed, np.log(C), atol=0.05)

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise newton` asks for both functions.
#
# <details><summary>Why |log p − log C| and not log C − log p?</summary>
#
# The two agree as long as p is below C.  An example that is above C has arrived and is not moved, so the sign never
# matters for the value.  The authors' code has the absolute value, and differentiates it.
# </details>
# <details><summary>What is √ε for?</summary>
#
# Where p equals C the distance φ is 0, and so would be the step.  √ε pushes on a little.  The ε under the root keeps
# the norm's derivative finite where w is 0.
# </details>
# <details><summary>In the figure one step falls short of C.  Why?</summary>
#
# The curve of log p bends away below its tangent, as it does wherever the logits are linear.  So the attack takes
# several steps.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The paper has the step without √ε.  The authors' code and this library have it, with ε = 1e-8.
# </details>
