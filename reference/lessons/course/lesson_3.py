# %% [markdown]
# # 3 · Towards what? Which class, which C?
#
# The attack needs a target class t and a confidence C.  Neither is free: a target that is far away makes poor adversarial
# examples, and a C that the network never reaches makes none.

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
    "A point, the boundaries of two classes as lines, and the shortest ways to them.",
)

# %% [markdown]
# ## The nearest class
#
# Class j takes over from the predicted class l where $f_j = f_l$.  Linearised at x, that boundary is a plane, and its distance is
#
# $$\frac{|f_j - f_l|}{\lVert \nabla f_j - \nabla f_l \rVert}$$
#
# **Why not the second largest logit?**  A class may be far behind in value and yet catch up quickly.  What counts is the gap
# divided by how fast the gap closes.

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
# C is what the network usually reaches on images that it takes for class t.  **Why not 1?**  A confidence of 1 would take an
# infinite step.  **Why not a half?**  Then all examples would lie at the boundary, and matching *them* with the data would
# fold the boundary into the data.  The mean follows the network as it trains, with half of its weight on the last batch:
#
# $$m \leftarrow \tfrac12 m + \tfrac12 \bar p, \qquad C = \frac{m}{1 - 2^{-\mathrm{steps}}}$$
#
# Dividing takes out the start from 0, so that the first value is the first batch's mean itself.

# %%
show(targets.RunningConfidence)
confidence, predicted = np.array([0.9, 0.7, 0.6]), np.array([0, 0, 1])
C = targets.RunningConfidence.start(3, float).update(confidence, predicted)
print(C.value)
assert np.allclose(C.value, [0.8, 0.6, 1.0])

# %% [markdown]
# ## Two mistakes
#
# **Nearest by logit.**  The example above would aim at class 1, although class 2 is much closer.
#
# **An absent class counts as 0.**  No image of the batch was taken for class 2.  It keeps its stored value, 1, which no attack
# reaches within the batch.  With 0 in its place, every attack towards it would stop before its first step.

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
# Then their gap never closes in the linearised network, and the distance is infinite.  If all are, the highest other logit
# is taken.
# </details>
# <details><summary>Why is C a constant when the loss is differentiated?</summary>
#
# It is the attack's goal.  A network that could move the goal would lower its loss by lowering C.
# </details>
# <details><summary>After two batches with means 0.9 and 0.7, what is C?</summary>
#
# m is 0.45 after the first and 0.575 after the second.  Divided by 1 − ¼ this gives 0.767: the later batch counts twice.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The authors' graph updates the mean once for each of its three executions in a batch.  Here it is updated once.
# </details>
