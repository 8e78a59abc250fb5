# %% [markdown]
# # 5 · The critic: what is "real data of class j"?
#
# An attacked image is taken for class k.  If it really looks like class k, this is an error of *kind II*: where
# classes overlap, nobody can avoid it.  If it does not look like class k, the error is of *kind I*, the harmful one.
# The critic has to tell the two apart.
#
# On the toy problem the density of every class is known, and with it the kind of every error.

# %%
import numpy as np

from reference.attacks import high_confidence
from reference.by_hand.model import from_params
from reference.data import toy
from reference.experiment.plans import TOY_CRITIC, TOY_TRAINING, with_epochs
from reference.experiment.train import train
from reference.lessons import figures
from reference.lessons.build import figure, show
from reference.method.critic import scores
from reference.method.numerics import predict

data = toy.load()
state = train(data, TOY_CRITIC, with_epochs(TOY_TRAINING, 40))
model = from_params(state.params)
x, y = data.test
result = high_confidence(model, x, ("true", y), toy.CONFIDENCE)
points = result.last[result.success]
taken_for = predict(model.logits(points))
kinds = toy.kind_of_error(points, taken_for)
counts = {kind: int((kinds == kind).sum()) for kind in ("I", "II")}
print(counts)
attacked = points, taken_for
B = 1
assert (taken_for == B).sum() > (y == B).sum()
assert (scores(state.critic, x[y == B], TOY_CRITIC.slope)[:, B] < 0).all()
figure(
    figures.critic_levels(state.params, state.critic, data.train, attacked, kinds),
    "The critic's score D on the toy square for each class: orange above 0, purple "
    "below, with a line at 0.  Dots: real data of the class.  Circles and crosses: "
    "attacked points that are taken for it, of kind II and I.  D is below 0 at class "
    "B's own data, since more attacked points than data are taken for B.",
)

# %% [markdown]
# ## Two losses
#
# The critic has one output for each of the k classes: $D_j(x) > 0$ reads "x is real data of class j".  It learns from
# real images with their labels y, and from attacked images $\hat x$ with the class $\hat y$ that they *are* taken
# for.  With softplus(a) = log(1 + eᵃ) its losses are
#
# $$\mathrm{softplus}(-D_y(x)) + \mathrm{softplus}(D_{\hat y}(\hat x))$$
#
# This is the cross-entropy of a yes-or-no question: "real?" with answer yes for x and no for $\hat x$.  **Why
# $\hat y$ and not the target t?**  The critic judges the network's claim, "this is a $\hat y$".  The target was only
# the attack's aim.  **Why k outputs and not one?**  A good 9 is a poor 4.  One output would let any good digit pass.
#
# The classifier wants the opposite on $\hat x$.  It will minimise $\mathrm{softplus}(-D_{\hat y}(\hat x))$ and not
# $-\mathrm{softplus}(D_{\hat y}(\hat x))$, which is flat, and so gives no gradient, where the critic is sure of a
# fake.

# %%
from reference.method import losses, objectives

show(losses.real_loss)
show(losses.fake_loss)
show(objectives.critic_objective)
figure(
    figures.losses_of_D(),
    "The losses as functions of the critic's score D.  The dotted one is flat on the "
    "left, where the critic is sure of a fake; the solid one is not.",
)

# %% [markdown]
# ## A penalty on its slope
#
# The classifier learns in which direction to change $\hat x$ from the slope of D there.  Where D is flat it learns
# nothing, and where D is very steep training is unstable.  So the slope is held near 1, for each real image with
# $D_y$ and each attacked one with $D_{\hat y}$:
#
# $$\left( \lVert \nabla_x D \rVert - 1 \right)^2$$
#
# Its means over real and over attacked images are added to the losses with weight 10.  For a linear critic with the
# weights (3, 4) the slope is 5 everywhere, and the penalty is 16.
#
# In training the critic's input and hidden units get random noise, which makes it harder to tell images apart by
# details.  The loss and the penalty of an image have the same noise, because both are about the same function.

# %%
show(losses.gradient_penalty)
w = np.array([[3.0, 4.0]])
assert losses.gradient_penalty(np.tile(w, (6, 1))) == 16.0  # (5 − 1)²

# %% [markdown]
# ## Two mistakes
#
# **The norm of the batch's mean.**  Suppose the mean of the gradients is taken first and its norm afterwards.  Slopes
# in opposite directions cancel, and the penalty makes them larger, although both are much too steep.
#
# **The fake judged by its label.**  The label is what the image *was*.  The critic of the example below is right: the
# image still looks like a 0, and not like the 1 that the network sees.  Judged by $\hat y$, it is hardly corrected.
# Judged by the label, it is told that what looks like a 0 is no 0.

# %%
gradients = np.concatenate([w, -w])
batch = (np.linalg.norm(gradients.mean(axis=0)) - 1) ** 2
print(f"per example {losses.gradient_penalty(gradients)}, per batch {batch}")
assert losses.gradient_penalty(gradients) == 16 and batch == 1
# Of an attacked 0 that the network takes for a 1, the critic says: a good 0, a poor 1.
D = np.array([[2.0, -2.0]])
right, by_label = (losses.fake_loss(D, np.array([j])) for j in (1, 0))
print(f"fake loss by ŷ {right:.3f}, by the label {by_label:.3f}")
assert np.isclose(right, np.log1p(np.exp(-2)))
assert np.isclose(by_label, np.log1p(np.exp(2)))

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise critic` asks for losses, penalty and objective.
#
# <details><summary>Why is every attacked image a fake for the critic, even if its class has not changed?</summary>
#
# The attack has made it, so it is no data.  The critic's question is whether an image is real, and not whether an
# attack succeeded.
# </details>
# <details><summary>Can the sum of the two losses reach 0?</summary>
#
# Not if the attacked images look just like data.  The critic can then only guess, D = 0, and the sum is 2 log 2.
# </details>
# <details><summary>Why are the k outputs no softmax?</summary>
#
# A softmax makes the classes compete, and one has to win.  An image may be no real data of any class, or of two that
# overlap.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The usual gradient penalty (Gulrajani et al. 2017) is taken at random points between real and fake.  The authors
# take it at the real and at the attacked images, and so does this library.
# </details>
