# %% [markdown]
# # 1 · The worst step: where does the max stand?
#
# Training for the worst case asks for a small loss even after an adversary has made a small change.  The worst change
# is a maximum.  Where the max stands in the formula decides whether all images share one change or each has its own.

# %%
import numpy as np

from reference.lessons import figures
from reference.lessons.build import figure, show

rng = np.random.default_rng(3)
w, x = np.array([1.5, 1.0]), rng.normal(size=(24, 2))
figure(
    figures.shared_and_own(w, x, 0.5),
    "Points on two sides of a decision line, and their changes as arrows.  Left: one "
    "change for all pushes the blue points towards the line, and the orange ones away "
    "from it.  Right: each has its own, all are pushed towards the line, and the mean "
    "loss is larger.",
)

# %% [markdown]
# ## Outside the sum, or under it?
#
# Let f be a network with weights θ, $L(f(x_i), y_i)$ its cross-entropy on an image $x_i$ with label $y_i$, and U the
# set of allowed changes, for example all of length at most ε.  Training minimises over θ one of these two:
#
# $$\begin{split} & \max_{r \in U} \sum_i L(f(x_i + r), y_i) \\
# \le\, & \sum_i \max_{r_i \in U} L(f(x_i + r_i), y_i) \end{split}$$
#
# Equation 1 of the paper prints the first, where the same r is added to every image.  Adversarial training
# approximates the second, where each image has its own $r_i$.  **Why is the first never larger?**  In the second each
# image may take the shared r, or a worse one.  The figure shows the difference: what hurts the points on one side
# helps those on the other.

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
# If the loss is linear in x with slope w, a change r adds $w^\top r$ to it.  The worst change of length at most ε is
#
# $$r = \varepsilon \frac{w}{\lVert w \rVert}$$
#
# and it adds ε‖w‖.  For w = (3, 4) and ε = 5 it is (3, 4), and adds 25.  **Why is it the worst?**  By the
# Cauchy–Schwarz inequality $w^\top r \le \lVert w \rVert \lVert r \rVert$, with equality where r points along w.
#
# Suppose instead that every *pixel* may change by at most ε.  The worst change is then ε·sign(w), here (5, 5), and
# adds ε‖w‖₁, here 35; ‖w‖₁ is the sum of absolute values.  The norm that measures w is *dual* to the one that limits
# r: L2 to L2 itself, and L1 to L∞, the largest absolute value.
#
# `gradient_step` takes this step against a network, with the gradient of its loss at x as w.

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
# Let $f_j$ be the *logit* of class j: the network's output before the softmax.  The margin defence wants the logit of
# the true class y to exceed every other by 1.  Its loss is the *hinge* $[1 + f_j - f_y]_+$ for the worst other class
# j, where $[a]_+$ is the larger of a and 0.  If f is linear, a change of length ε can raise $f_j - f_y$ by up to ε
# times the norm of its gradient.  So the worst case is
#
# $$\max_{j \neq y}\, [1 + f_j - f_y + \varepsilon \lVert \nabla f_j - \nabla f_y \rVert]_+$$
#
# For a network this is an approximation.  If pixels are limited one by one, the norm is the dual one, L1.  **Why not
# j = y?** Its bracket is 1 for every network, so the maximum could never fall below 1.

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
# Take the sign step, and predict its effect by ε‖w‖ instead of ε‖w‖₁.  For an image of d pixels the prediction may be
# too small by a factor of up to √d.

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
# <details><summary>When do the two sides of the inequality agree?</summary>
#
# When one change is the worst for every image.  The paper's formula also means the second side if its r is read as a
# list $(r_1, r_2, …)$ with an entry for each image.
# </details>
# <details><summary>Why may r be treated as a constant when the loss is differentiated by θ?</summary>
#
# By Danskin's theorem the derivative of $\max_r L$ is that of L with r held at the worst change, if there is only
# one.  A single gradient step only approximates the maximum.
# </details>
# <details><summary>Every pixel of an image may change by ε.  Which pixels does the worst step leave alone?</summary>
#
# Only those with a slope of exactly 0.  A pixel with a tiny slope changes as much as any other.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The paper prints the maximum outside the sum.  Its text and the code mean one change for each image.
# </details>
