# %% [markdown]
# # 3 · Towards what? Which class, which C?
#
# The attack needs a target class t and a confidence C.  If t is far away, the attack has to change more than it needs
# to.  If the network never reaches C, the attack never arrives.
#
# The figure shows a toy problem: images of two pixels, which are points in a square, and three classes A, B and C.

# %%
import numpy as np

from reference.data import toy
from reference.experiment.plans import TOY_TRAINING, with_epochs
from reference.experiment.train import train
from reference.lessons import figures
from reference.lessons.build import figure, show
from reference.method.settings import Undefended

data = toy.load()
state = train(data, Undefended(), with_epochs(TOY_TRAINING, 10))
params = [(W.astype(float), b.astype(float)) for W, b in state.params]
point = np.array([0.28, 0.5])
figure(
    figures.linearised_boundaries(params, point),
    "Colours: the class that a network predicts.  Lines: the boundaries with A and C, "
    "linearised at the black point, with the shortest ways to them.  The line of A "
    "follows the true boundary; that of C, far away, does not.",
)

# %% [markdown]
# ## The nearest class
#
# The prediction changes from class l to class j where $f_j = f_l$.  With f linearised at x, these points form a line,
# or a plane in more dimensions, and its distance from x is
#
# $$\frac{|f_j - f_l|}{\lVert \nabla f_j - \nabla f_l \rVert}$$
#
# The example in the code has the logits 3, 2 and 0, and predicts class 0.  The gradients' differences have lengths
# 0.5 and 4.0.  So class 1 is at distance 1 / 0.5 = 2, and class 2 at 3 / 4, nearer.  **Why not the second largest
# logit?**  A class may be far behind in value and yet catch up quickly.  What counts is the gap divided by how fast
# it closes.

# %%
from reference.method import targets

show(targets.distances)
show(targets.nearest)
z, gaps = np.array([[3.0, 2.0, 0.0]]), np.array([[0.0, 0.5, 4.0]])
away = targets.distances(z, gaps, np.array([0]))
print(away)
# The smallest logit, and the nearest class.
assert targets.nearest(z, away, np.array([0])) == [2]

# %% [markdown]
# ## How sure: a running mean
#
# The network's *confidence* at x is its largest probability.  C is the mean confidence over the images that it takes
# for class t: an attacked image has to be as sure a t as others are.  **Why not 1?**  A softmax never reaches 1, so
# no attack would arrive.  **Why not a half?**  Then attacked images would lie near a boundary between classes, and to
# make *those* look like the data would draw the boundary into the data.
#
# The network changes in training, so the mean follows it: each batch gets half of the weight.  For each class, m
# starts at 0, and
#
# $$m \leftarrow \tfrac12 m + \tfrac12 \bar p, \qquad C = \frac{m}{1 - 2^{-\mathrm{steps}}}$$
#
# where $\bar p$ is the batch's mean confidence over the images that are predicted as this class.  The division makes
# up for the start at 0, as in Adam: after the first batch C is $\bar p$ itself.

# %%
show(targets.RunningConfidence)
confidence, predicted = np.array([0.9, 0.7, 0.6]), np.array([0, 0, 1])
C = targets.RunningConfidence.start(3, float).update(confidence, predicted)
print(C.value)
assert np.allclose(C.value, [0.8, 0.6, 1.0])

# %% [markdown]
# ## Two mistakes
#
# **Nearest by logit.**  The example above would aim at class 1, although class 2 is nearer.
#
# **An absent class counts as 0.**  In the code's batch no image is taken for class 2, so there is no $\bar p$.  Its C
# stays what it was, 1 at the start, and no attack reaches that.  With 0 in its place, every attack towards the class
# would stop before its first step.

# %%
by_logit = int(np.where([True, False, False], -np.inf, z[0]).argmax())
print(f"by logit: class {by_logit}, at distance {away[0, by_logit]:.2f}")
print(f"nearest:  class 2, at distance {away[0, 2]:.2f}")
assert away[0, by_logit] > 2 * away[0, 2]
assert C.value[2] == 1

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise 3` writes both exercises of this lesson, `nearest` and `confidence`.
#
# <details><summary>What if two classes have the same gradient?</summary>
#
# Then their gap never closes in the linearised network, and the distance is infinite.  If all distances are infinite,
# the highest other logit is taken.
# </details>
# <details><summary>Why is C a constant when the loss is differentiated?</summary>
#
# It is the attack's goal.  A network that could move the goal could lower its loss without changing what it takes for
# a t.
# </details>
# <details><summary>After two batches with means 0.9 and 0.7, what is C?</summary>
#
# m is 0.45 after the first and 0.575 after the second.  Divided by 1 − ¼ this gives 0.767: the later batch counts
# twice as much.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The authors' graph updates the mean once for each of its three executions in a batch.  Here it is updated once.
# </details>
