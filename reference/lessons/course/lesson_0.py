# %% [markdown]
# # 0 · A small step: how little fools a network?
#
# A network reads a handwritten 4 and is right.  Change the image a little, in a direction that the network's own gradient
# names, and the same network says 9.  You would still say 4.
#
# Before you go on, guess: what share of the image has to change before an ordinary network gives in?  One half?  A tenth?

# %%
from reference.lessons import figures, page
from reference.lessons.build import figure, show

content = page.shipped()
x = content.images[page.DIGIT]  # the first 4 of the test images
drawn = figures.attacked_digits(content.networks, x, 4, 9, 0.8)
figure(drawn, "One 4, and what it takes to make each network 80 % sure that it is a 9; below, what was changed.")

# %% [markdown]
# ## How large is a change?
#
# The length of the change is compared with the length of the image, and averaged over test images:
#
# $$\rho = \frac{1}{n} \sum_{i=1}^n \frac{\lVert r_i \rVert}{\lVert x_i \rVert}$$
#
# A ρ of 0.1 says that an average change is a tenth as long as the image.  **Why a ratio?**  A thin 1 has little ink and a
# fat 8 much, so the same length of change is a smaller disturbance to the 8.

# %%
from reference.attacks import deepfool

show(deepfool)

# %% [markdown]
# ## The smallest step that DeepFool finds
#
# DeepFool pretends that the network is linear, walks to the nearest boundary of that linear network, looks again, and stops
# as soon as the class has changed.  **Why look again?**  The network is not linear, so the first guess falls short.

# %%
import numpy as np

from reference.by_hand.model import from_params
from reference.experiment.evaluate import measure

rho = {}
for name, params in content.networks.items():
    model = from_params(params)
    result = deepfool(model, content.images, ("true", content.labels))
    found = measure(result, content.images, model.logits)
    rho[name] = found.rho
    print(f"{name:12s} rho {found.rho:.3f}   success {found.success_rate:.0%}")
assert rho["undefended"] == min(rho.values())
assert rho["undefended"] < 0.2

# %% [markdown]
# ## A mistake that hides in an average
#
# Suppose an attack fails on many images, because it was given too few steps.  Whoever counts a failed attack as a change
# of length 0 makes a weak attack look like a weak network.  The average over the successes alone is too small as well,
# because the images that are moved first are the easy ones.  Only the success rate beside it shows that.

# %%
model = from_params(content.networks["undefended"])
weak = deepfool(model, content.images, ("true", content.labels), iterations=8)
ratio = np.linalg.norm(weak.last - content.images, axis=1) / np.linalg.norm(content.images, axis=1)
honest = ratio[weak.success].mean()
wrong = np.where(weak.success, ratio, 0).mean()
print(f"success {weak.success.mean():.0%}; rho over successes {honest:.3f}, failures counted as 0 {wrong:.3f}")
assert wrong < honest and not weak.success.all()

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise robustness` writes a file `robustness.py` and asks you to write ρ in it.  Then
# `python -m reference.lessons check robustness.py` says within seconds whether it is right; with `--hint` it says what is
# wrong, and with `--solution` why.  Every lesson's exercise goes like this.
#
# <details><summary>An image that is misclassified from the start: what is its r?</summary>
#
# Attacked from its true label it needs no change, so r = 0, and it counts as 0.  Attacked from the *predicted* label it
# needs one.  Both conventions are honest; mixing them is not.
# </details>
# <details><summary>Is ρ of a network that has the largest ρ an upper bound or a lower bound of what fools it?</summary>
#
# An upper bound: an attack found a change of that length, and a better attack may find a shorter one.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The authors average the last iterate of failed attacks in.  Here ρ is over the successes, and the success rate stands
# beside it.
# </details>
