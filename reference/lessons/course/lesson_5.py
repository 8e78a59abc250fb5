# %% [markdown]
# # 5 · The critic: what is "real data of class j"?
#
# Some errors are harmless: a point that really looks like class k may be taken for class k (kind II).  An error is harmful when
# a point is taken for a class that it does not look like (kind I).  The critic is to tell the two apart.

# %%
import numpy as np

from reference.attacks import high_confidence
from reference.by_hand.model import from_params
from reference.data import toy
from reference.experiment.plans import TOY_CRITIC, TOY_TRAINING, with_epochs
from reference.experiment.train import train
from reference.lessons import figures
from reference.lessons.build import figure, show
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
figure(
    figures.critic_levels(state.params, state.critic, data.train, attacked, kinds),
    "The critic's score on the toy square for three classes; attacked points of "
    "kind I are crosses, of kind II circles.",
)

# %% [markdown]
# ## Two losses
#
# The critic has one output for each class: $D_j(x) > 0$ reads "x is real data of class j".  It learns from real images with
# their labels y, and from attacked images with the class ŷ that they *are* taken for:
#
# $$\mathrm{softplus}(-D_y(x)) + \mathrm{softplus}(D_{\hat y}(\hat x))$$
#
# **Why ŷ and not the target t?**  The claim that has to be judged is the network's, "this is a ŷ".  The target was only the
# attack's aim.  **Why k outputs and not one?**  A good 9 is a poor 4.  One output would let any good digit pass.

# %%
from reference.method import losses, objectives

show(losses.real_loss)
show(losses.fake_loss)
show(objectives.critic_objective)
figure(
    figures.losses_of_D(),
    "softplus of D and of −D; the saturating loss is flat where the critic is sure "
    "of a fake.",
)

# %% [markdown]
# ## A penalty on its slope
#
# A critic that is very sure gives the attack no direction: its loss is flat.  So its slope is held near 1, for each image, at
# real and at attacked images:
#
# $$\left( \lVert \nabla_x D \rVert - 1 \right)^2$$
#
# For a linear critic the slope is the weight vector everywhere, and the penalty is known.

# %%
show(losses.gradient_penalty)
w = np.array([[3.0, 4.0]])
assert losses.gradient_penalty(np.tile(w, (6, 1))) == 16.0  # (5 − 1)²

# %% [markdown]
# ## Two mistakes
#
# **The norm of the batch's mean.**  Take the mean of the gradients first and its norm afterwards.  Two images whose slopes point in opposite directions cancel, and
# the penalty pushes their slopes up, although both are much too steep.
#
# **The fake judged by its label.**  The label is what the image *was*.  The critic of the example below is right: the image
# still looks like a 0, and not like the 1 that the network sees.  Judged by ŷ it is hardly corrected.  Judged by the label it
# is told that what looks like a 0 is none.

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
# <details><summary>Why does the critic see all attacked images, and the classifier only S?</summary>
#
# For the critic every attacked image is a forgery.  For the classifier, an attack that changed no prediction has made no
# adversarial example, so there is nothing that must look real.
# </details>
# <details><summary>Can the critic's cross-entropy reach 0?</summary>
#
# If the attack succeeds in drawing real images, no: the critic then cannot do better than to guess, 2 log 2 in all.
# </details>
# <details><summary>What is the penalty of a linear critic D(x) = wᵀx, and where is it smallest?</summary>
#
# It is (‖w‖ − 1)² for every image, and 0 where w has length 1.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The usual penalty is taken at random points between real and fake.  The authors take it at the real and at the attacked
# images, and so does this library.
# </details>
