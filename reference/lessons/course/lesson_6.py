# %% [markdown]
# # 6 · One loss: where does the gradient stop, and why?
#
# The classifier's loss puts attack and critic to work.  All its values can be right and its gradient wrong.  So the
# question for every arrow of the figure is whether a gradient comes back along it to the classifier's weights θ.  (ω
# are the critic's weights.)

# %%
from reference.lessons import figures
from reference.lessons.build import figure, show

figure(
    figures.data_flow(),
    "What the classifier's loss is made of.  Green arrows carry a gradient back to θ; "
    "dashed ones with scissors do not.  One arrow leaves the attack with its gradient, "
    "to the critic term, and one without, to the cycle.",
)
print(figures.in_words())

# %% [markdown]
# ## Three terms
#
# Let $\hat y_0$ be the class predicted at x, $\hat x$ the attacked image, and $\hat y$ the class predicted there.  S
# holds the images of the batch with $\hat y \neq \hat y_0$, whose attack has changed the prediction.  The loss is
#
# $$\begin{split} & \mathrm{mean}\, L(f(x), y) \\ & + \lambda\, \mathrm{mean}_S\, \mathrm{softplus}(-D_{\hat y}(\hat x)) \\
# & + \beta\, \mathrm{mean}_S\, \lVert x - A_f(\mathrm{sg}[\hat x], \hat y_0; \mathrm{conf}) \rVert^2 \end{split}$$
#
# The first is the usual cross-entropy.  The second wants attacked images to look like what they are taken for.  The
# third is the *cycle*.  $A_f(x, t; C)$ is lesson 4's attack.  Here it starts at $\hat x$ and leads back to the class
# $\hat y_0$ with the confidence conf = max p(x) that the network had at x, and it has to end at x.  sg[…] (*stop
# gradient*) makes its argument a constant.
#
# **Why only S?**  An attack that changed no prediction has made no adversarial example, so nothing has to look real.
# **Why a cycle?**  Without it, all attacked fours could become one and the same nine, which looks perfectly real.

# %%
from reference.method import objectives

show(objectives.judge)

# %% [markdown]
# ## Ask the arrows
#
# The code takes a small random network and a random batch, and differentiates each term by the weights θ.  The critic
# term has a gradient although θ reaches it through the attack alone.

# %%
import numpy as np
from autograd import grad

from reference.method import network
from reference.method.settings import AdversaryCritic
from reference.method.targets import RunningConfidence

rng = np.random.default_rng(0)
params, critic = (network.init(rng, (8, 16, 3), float) for _ in range(2))
x, y = rng.random((40, 8)), rng.integers(0, 3, 40)
s = AdversaryCritic()
running = RunningConfidence(np.full(3, 0.8), np.full(3, 0.4), 1)
t = objectives.choose_targets(params, x, s.generator)


def term(name):
    def value(p):
        terms = objectives.adversary_critic(p, x, y, t, running, critic, None, s)
        return terms[name][1]

    return value


def size(g):
    return np.sqrt(sum((a**2).sum() for layer in g for a in layer))


for name in ("cross_entropy", "critic", "cycle"):
    slope = size(grad(term(name))(params))
    print(f"{name:14s} value {term(name)(params):.4f}   slope by θ {slope:.4f}")
    assert slope > 0  # the critic's term sees θ through the attack alone

# %% [markdown]
# ## Two mistakes
#
# **The cycle's input attached.**  Suppose $\hat x$ is not made a constant where the way back begins.  The value of
# the term stays the same.  Its gradient now also shortens the way *out*: the easiest way to come home is not to
# leave.
#
# **The target instead of $\hat y$.**  An attack towards a far class t with a low C may stop in a nearer class.  A
# critic that is asked about t then judges a claim that the network does not make.  Here even the value is wrong.

# %%
from reference.method.critic import scores
from reference.method.losses import cycle_loss, fool_loss
from reference.method.numerics import predict, stop_gradient


def cycle(p, cut):
    z, own, x_hat, _ = objectives.generate(p, x, t, running, s.generator)
    changed = predict(network.logits(p, x_hat)) != predict(z)
    start = stop_gradient(x_hat) if cut else x_hat
    back = objectives.attack(p, start, predict(z), own, s.generator)
    return cycle_loss(x, back, changed)


right, wrong = (grad(cycle)(params, cut) for cut in (True, False))
assert np.isclose(cycle(params, True), cycle(params, False), rtol=1e-12)
difference = size([(a - c, b - d) for (a, b), (c, d) in zip(right, wrong)])
print(f"values: {cycle(params, True):.4f} and {cycle(params, False):.4f}")
print(
    f"gradients: off by {difference / size(right):.1f} times the right one's length"
)
assert difference > 0.05 * size(right)
predicted = predict(network.logits(params, x))
far = 3 - t - predicted  # the class that is not the nearest
low = RunningConfidence(np.full(3, 0.3), np.full(3, 0.15), 1)
x_hat = objectives.generate(params, x, far, low, s.generator).images
y_hat, D = predict(network.logits(params, x_hat)), scores(critic, x_hat, s.slope)
changed = y_hat != predicted
by_class, by_target = (fool_loss(D, j, changed) for j in (y_hat, far))
print(f"critic's term by ŷ {by_class:.4f}, by the target {by_target:.4f}")
assert (y_hat != far)[changed].any() and not np.isclose(by_class, by_target)

# %% [markdown]
# ## A batch, in order
#
# 1. The running confidence of lesson 3 is updated with this batch.
# 2. The attack makes $\hat x$ with the weights θ as they are.
# 3. The critic takes one step on x and $\hat x$.
# 4. The classifier takes one step from the same θ, with the same $\hat x$ and C, judged by the critic of step 3.
#
# **Why the critic first?**  So that the classifier is judged by a critic that has seen these very images.  Every
# forward pass of the critic draws fresh noise.  Each step is one of *Adam*, with β₁ = ½ instead of the usual larger
# value.

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise judge` asks for the three terms; `exercise batch` for a whole batch in order.
#
# <details><summary>Why is conf, the confidence on the way back, not detached?</summary>
#
# The authors' code lets the gradient flow: conf is what the way back must reach, and it depends on the weights at x.
# </details>
# <details><summary>What should happen if S is empty?</summary>
#
# Both means are 0, with gradient 0.  A mean over nothing is nan in the authors' code.
# </details>
# <details><summary>Why does no gradient reach the critic's weights in this step?</summary>
#
# They are another network's.  The critic has a loss of its own, which wants the opposite, and takes its own step.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The paper prints the cycle's norm without the square, the code squares it, and so does this library.
# </details>
