# %% [markdown]
# # 7 · A gradient of a gradient: can one do it on paper?
#
# The attack moves an image along w, a derivative by the image.  Training differentiates the attacked image by the
# weights: a derivative of a derivative.  Automatic differentiation records how w is computed, and differentiates the
# record.  On paper four passes through the network are enough.

# %%
import numpy as np

W1 = np.array([[1.0, -1.0], [1.0, 1.0]])
W2 = np.array([[1.0, 0.0], [0.0, 2.0]])
x, e_t, C = np.array([0.5, 1.0]), np.array([0.0, 1.0]), 0.9

# %% [markdown]
# ## 1 and 2: forward, and backward to the image
#
# The network has two inputs, two hidden ReLU units and two classes, and no biases.  The target is class 1, counted
# from 0, and C is 0.9.  Pass 1 goes forward to the logits z and the probabilities p.  Pass 2 takes $e_t - p$, the
# derivative of $\log p_t$ by the logits, backward to the image; the result is $w = \nabla_x \log p_t$.  One step of
# the attack, with ε = 0, is $r = \varphi\, w / \lVert w \rVert^2$ with $\varphi = \log C - \log p_t$.

# %%
h1 = x @ W1
m = (h1 > 0).astype(float)
h1, z = h1 * m, (h1 * m) @ W2
p = np.exp(z) / np.exp(z).sum()
d2 = e_t - p
d1 = (d2 @ W2.T) * m
w = d1 @ W1.T
phi, n = abs(np.log(p[1]) - np.log(C)), np.linalg.norm(w)
r = phi / n**2 * w
print("p", p.round(4), "w", w.round(4), "step", r.round(4))

# %% [markdown]
# ## 3: the tangent
#
# Suppose the loss is the first pixel of the attacked image $x + r$.  A bar denotes the derivative of the loss by the
# barred quantity, its *cotangent*: here $\bar r = (1, 0)$.  By the product rule the cotangent of w is
#
# $$v = \frac{\varphi}{\lVert w \rVert^2}\, \bar r - \frac{2 \varphi\, \bar r^\top w}{\lVert w \rVert^4}\, w .$$
#
# We need the derivative of $v^\top w$ by the weights, with v held fixed.  The trick: w is a *backward* pass of
# $e_t - p$, which is a product with $J^\top$, the transposed Jacobian of the logits.  So
#
# $$v^\top w = v^\top J^\top (e_t - p) = (J v)^\top (e_t - p)$$
#
# and $J v$ is one *forward* pass of v through the linearised network, which keeps the slopes m of the ReLU units.  No
# matrix J is ever built.
#
# The weights also change $\log p_t$, on which φ and the indicator of lesson 4 depend (σ is its sigmoid).  The
# cotangent of $\log p_t$ has a part from each:
#
# $$a = -\frac{\bar r^\top w}{\lVert w \rVert^2} - p_t\, \bar r^\top r\, \sigma'(C - p_t) .$$

# %%
r_bar = np.array([1.0, 0.0])
v = phi / n**2 * r_bar - 2 * phi * (r_bar @ w) / n**4 * w
sigma = 1 / (1 + np.exp(-(C - p[1])))
slope = sigma * (1 - sigma)
a = -(r_bar @ w) / n**2 - p[1] * (r_bar @ r) * slope
t1 = (v @ W1) * m
Jv = t1 @ W2
assert np.isclose(v @ w, Jv @ (e_t - p))
print("v", v.round(4), "Jv", Jv.round(4))

# %% [markdown]
# ## 4: backward to the weights
#
# The logits change w through $e_t - p$, whose derivative is that of the softmax, and they change $\log p_t$.  So the
# logits receive
#
# $$\zeta = -(\mathrm{diag}\, p - p p^\top) J v + a (e_t - p) .$$
#
# One ordinary backward pass of ζ completes the gradient.  Each weight matrix receives two products,
#
# $$\bar W_l = \tau_{l-1}^\top \delta_l + h_{l-1}^\top \rho_l ,$$
#
# the first because w depends on the weights, and the second because the logits do.  Here h are the layers' inputs, δ
# the signals of pass 2, τ those of pass 3 (with $\tau_0 = v$), and ρ those of pass 4 (not the robustness ρ).

# %%
from reference.lessons import figures
from reference.lessons.build import figure, show

zeta = -(np.diag(p) - np.outer(p, p)) @ Jv + a * (e_t - p)
rho1 = (zeta @ W2.T) * m
W1_bar = np.outer(v, d1) + np.outer(x, rho1)
W2_bar = np.outer(t1, d2) + np.outer(h1, zeta)
numbers = dict(h0=x, h1=h1, z=z, w=w, d1=d1, d2=d2)
numbers |= dict(v=v, t1=t1, Jv=Jv, zeta=zeta, rho1=rho1)
figure(
    figures.four_passes(numbers),
    "The four passes with the numbers of this lesson, a row each: two go from the "
    "image to the logits, and two go back.",
)
print("derivative by W1", W1_bar.round(4).tolist())

# %% [markdown]
# ## Check it, and see what the library does
#
# Autograd differentiates the library's own loop, and the two gradients agree to rounding.

# %%
from autograd import make_vjp

from reference.by_hand import passes
from reference.method.generator import unrolled

params = [(W1, np.zeros(2)), (W2, np.zeros(2))]


def attack(params):
    return unrolled(params, x[None], np.array([1]), C, 1, 0, 0)


pull_back, _ = make_vjp(attack)(params)
(first, _), (second, _) = pull_back(r_bar[None])
assert np.allclose(W1_bar, first, rtol=1e-12)
assert np.allclose(W2_bar, second, rtol=1e-12)
show(passes.Pass.tangent)

# %% [markdown]
# ## The mistake: dropping the second-order term
#
# Hold w fixed, and let the weights act only through $\log p_t$.  The result looks plausible, and points in another
# direction.

# %%
dropped = np.outer(x, (a * (e_t - p) @ W2.T) * m)
cosine = (dropped * W1_bar).sum() / np.linalg.norm(dropped) / np.linalg.norm(W1_bar)
print(f"cosine with the true gradient {cosine:.2f}")
assert cosine < 0.99

# %% [markdown]
# A network that is trained with this gradient does not learn a little less.  It learns the opposite.  The weights act
# on a step in two ways: they turn it, which takes the second order, and they change its length.  Only a turn can make
# the attacked image look more like a real one of class t.  With the length alone the critic is fooled in the cheapest
# way, by a perturbation too short to be noticed.  So the network becomes *easier* to move.  The study `choices`
# trained three networks each way: with the length held constant, so that the weights only turn the steps; with the
# direction held; and with all of w held, first order only.  It measured ρ, the mean length of the smallest
# perturbation found, relative to the image's:

# %%
from reference.studies import study

records = study.read(study.SHIPPED / "choices.json")["records"]
rho, names = {}, ["the method", "length held", "undefended"]
for name in [*names, "direction held", "first order only"]:
    found = [r["strongest"] for r in records if r["name"] == name]
    rho[name] = np.mean(found)
    print(f"{name}: {rho[name]:.3f}")
assert rho["first order only"] < rho["undefended"] / 3
assert rho["undefended"] < rho["length held"] < rho["the method"]

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise passes` asks for the passes; the derivation is `reference/by_hand/README.md`.
#
# <details><summary>Where was it used that ReLU is piecewise linear?</summary>
#
# The slopes m were held constant.  A smooth activation has a second derivative, which adds one more product at every
# layer.
# </details>
# <details><summary>Do biases appear in the tangent?</summary>
#
# No: J is the derivative of the logits by the image, and a bias only adds a constant.
# </details>
# <details><summary>How many passes does one step cost, forwards and in reverse?</summary>
#
# Two and two, where the cross-entropy needs one and one.
# </details>
