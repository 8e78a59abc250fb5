# %% [markdown]
# # 1 · The worst step: where does the max stand?
#
# Training for the worst case means: whatever small change an adversary adds, the loss shall be small.  Who chooses the
# change, and when?  One word in the formula decides it.

# %%
import numpy as np

from reference.lessons import figures
from reference.lessons.build import figure, show

rng = np.random.default_rng(3)
w, x = np.array([1.5, 1.0]), rng.normal(size=(24, 2))
figure(
    figures.shared_and_own(w, x, 0.5),
    "Points on two sides of a line: a shared push helps one side and hurts the other.",
)

# %% [markdown]
# ## Under the sum, or outside?
#
# Equation 1 of the paper prints the maximum in front of the sum.  Read literally, one and the same r is added to every image.
# What adversarial training does is to choose a change for each image:
#
# $$\min_\theta \sum_i \max_{r_i \in U_i} L(f(x_i + r_i), y_i)$$
#
# **Why does it matter?**  A shared change pushes all points in one direction, and what hurts the points on one side helps the
# others.  So the shared maximum is never larger than the sum of the separate ones.

# %%
from reference.method import risk

show(risk.robust_risk)
show(risk.universal_risk)
losses = rng.random((7, 5))  # seven candidate changes, five examples
assert risk.universal_risk(losses) <= risk.robust_risk(losses)
print(f"shared {risk.universal_risk(losses):.3f}")
print(f"each its own {risk.robust_risk(losses):.3f}")

# %% [markdown]
# ## The worst step against a linear network
#
# If the loss is linear in x with slope w, the worst change of length ε is
#
# $$r = \varepsilon \frac{w}{\lVert w \rVert}$$
#
# and it adds ε‖w‖ to the loss.  **Why?**  By Cauchy and Schwarz no vector of that length has a larger product with w.  If
# instead every *pixel* may change by ε, the worst change is ε·sign(w), and it adds ε‖w‖₁: the sum of absolute values.  The
# norm that measures w is *dual* to the one that limits r.
#
# `gradient_step` takes this step against a network: w is the gradient of its loss at x.

# %%
from reference.method.perturbations import gradient_step, steepest

show(steepest)
show(gradient_step)
W, epsilon = rng.normal(size=(1, 30)), 0.2
r = epsilon * steepest(W, "l2")
assert np.isclose((W * r).sum(), epsilon * np.linalg.norm(W))
r = epsilon * steepest(W, "linf")
assert np.isclose((W * r).sum(), epsilon * np.abs(W).sum())

# %% [markdown]
# ## The worst hinge
#
# The margin defence wants the true class y to win by 1.  Its loss is the *hinge*, $[1 + f_j - f_y]_+$ for the worst other class
# j, where $[a]_+$ is the larger of a and 0.  Inside a ball of radius ε the difference $f_j - f_y$ can grow by ε times the dual
# norm of its slope.  So the worst case over the ball, exact where f is linear, is
#
# $$\max_{j \neq y}\, [1 + f_j - f_y + \varepsilon \lVert \nabla f_j - \nabla f_y \rVert]_+$$
#
# **Why not j = y?**  Its difference is 0 and would add a hinge of 1 that no network can lower.

# %%
from reference.method import losses

# A linear network of three classes, and one image.
slopes, x0, y0 = rng.normal(size=(3, 30)), rng.normal(size=30), 0
gaps = np.linalg.norm(slopes - slopes[y0], axis=1)
worst = losses.margin_hinge(
    (slopes @ x0)[None], np.array([y0]), gaps[None], epsilon
)
pushed = [x0 + epsilon * (slopes[j] - slopes[y0]) / gaps[j] for j in (1, 2)]
hinges = [1 + slopes[j] @ p - slopes[y0] @ p for j, p in zip((1, 2), pushed)]
assert np.isclose(worst, max(*hinges, 0))

# %% [markdown]
# ## A mistake that looks harmless: the wrong norm
#
# Take the sign step, and predict its effect by ε‖w‖ instead of ε‖w‖₁.  For an image of d pixels the prediction may be too
# small by a factor of √d.

# %%
predicted, true = epsilon * np.linalg.norm(W), epsilon * np.abs(W).sum()
print(
    f"predicted {predicted:.2f}, true {true:.2f}: {true / predicted:.1f} times as much"
)
assert predicted < true <= predicted * np.sqrt(W.size)

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise worst` asks for the step, the dual norm, and the worst hinge.
#
# <details><summary>When do the two readings of equation 1 agree?</summary>
#
# When every example has a set of its own, so that a choice for one is no choice for another.
# </details>
# <details><summary>Why may r be treated as a constant when the loss is differentiated?</summary>
#
# At a maximum, a small change of r changes the loss by nothing in first order.  This is Danskin's theorem.  It holds for a
# true maximum, and a single gradient step only approximates one.
# </details>
# <details><summary>Every pixel of an image may change by ε. Which pixels does the worst step leave alone?</summary>
#
# Only those with a slope of exactly 0.  A pixel with a tiny slope changes as much as any other.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The paper prints the maximum outside the sum.  Code, and the text around the equation, mean one change for each image.
# </details>
