# %% [markdown]
# # 2 · Until it is sure: how far to confidence C?
#
# DeepFool stops as soon as the class has changed, at the very boundary.  The attack of this method goes on until the network is
# *sure* of the wrong class.  How far must it go?  One tangent gives a good guess.

# %%
import numpy as np

from reference.lessons import figures, page
from reference.lessons.build import figure, show

content = page.shipped()
params = content.networks["critic"]
x = content.images[page.DIGIT]
figure(
    figures.tangent_step(params, x, 9, 0.8),
    "log p of the target along its gradient; the tangent reaches log C first.",
)

# %% [markdown]
# ## One Newton step
#
# Let $p_t$ be the probability of the target class, and $w = \nabla_x \log p_t(x)$.  Near x,
#
# $$\log p_t(x + s) \approx \log p_t(x) + w^\top s .$$
#
# We want the right side to be $\log C$, with the shortest s.  The shortest vector with a given product with w lies along w:
#
# $$s = \left( \log C - \log p_t \right) \frac{w}{\lVert w \rVert^2}$$
#
# **Why twice the norm below?**  Once to make w a unit vector, and once because a steep function needs a short step.
# **Why the logarithm?**  $p_t$ itself is flat where it is near 0, and a tangent there says nothing; $\log p_t$ is not flat.

# %%
from reference.method import network
from reference.method.generator import linearise_log_prob, newton_step

show(linearise_log_prob)
show(newton_step)

# %% [markdown]
# ## Does it arrive?
#
# On a function that is linear in x one step would be exact.  Check the claim in the tangent's own terms, then see what the
# true network says.  The code adds a small √ε to every step, so that a step is never quite 0.


# %%
def f(v):
    return network.logits(params, v)


t, C = np.array([9]), 0.8
log_p, p, w = linearise_log_prob(f, x[None], t)
s = newton_step(log_p, w, np.array([C]), eps=1e-16)
assert np.isclose(log_p[0] + (w * s).sum(), np.log(C), atol=1e-6)
_, after, _ = linearise_log_prob(f, x[None] + s, t)
print(f"p before {p[0]:.4f}, wanted {C}, after one step {after[0]:.4f}")

# %% [markdown]
# Is w what the text says?  A finite difference along w agrees with its squared length.

# %%
h = 1e-6
ahead, _, _ = linearise_log_prob(f, x[None] + h * w, t)
assert np.isclose((ahead - log_p)[0] / h, (w * w).sum(), rtol=1e-3)

# %% [markdown]
# ## A mistake: dividing by the norm once
#
# With $w / \lVert w \rVert$ in place of $w / \lVert w \rVert^2$ the step is still in the right direction.  Its length is off by
# the factor ‖w‖, so an attack that still succeeds in the end hides the error.

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
# The two agree as long as p is below C.  An example that is above C has arrived and is not moved, so the sign never matters
# forwards; the authors' code has the absolute value, and its derivative follows.
# </details>
# <details><summary>What is √ε for?</summary>
#
# Where p equals C the distance φ is 0, and so would be the step.  √ε pushes on a little.  The ε under the root keeps the
# norm's derivative finite where w is 0.
# </details>
# <details><summary>On which function would one step reach C exactly?</summary>
#
# On one whose log p is linear in x.  The softmax is not, and so the attack takes several steps.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The paper has the step without √ε.  Code and this library have it, with ε = 1e-8.
# </details>
