# %% [markdown]
# # 0 · A small step: how little fools a network?
#
# A network reads a handwritten 4 and is right.  Change the image a little, in a direction that the network's own gradient
# names, and the same network says 9.  You would still say 4.
#
# The images are 28×28 pixels, each a number from 0 (paper) to 1 (ink), and no network was trained on those that you see here.
#
# Before you go on, guess: what share of the image has to change before an ordinary network gives in?  One half?  A tenth?

# %%
from reference.lessons import figures, page
from reference.lessons.build import figure, show

content = page.shipped()
x = content.images[page.DIGIT]  # the first 4 of the test images
drawn = figures.attacked_digits(content.networks, x, 4, 9, 0.8)
figure(
    drawn,
    "One 4, and what it takes to make each network 80 % sure that it is a 9; "
    "below, what was changed.",
)

# %% [markdown]
# ## How large is a change?
#
# The length of the change is compared with the length of the image, and averaged over test images:
#
# $$\rho = \frac{1}{n} \sum_{i=1}^n \frac{\lVert r_i \rVert}{\lVert x_i \rVert}$$
#
# An *attack* is a procedure that finds such an r, and ρ depends on it.  One attack is *stronger* than another if its r are
# shorter, so that its ρ is smaller.  A ρ of 0.1 says that an average change is a tenth as long as the image.  **Why a ratio?**  A thin 1 has little ink and a
# fat 8 much, so the same length of change is a smaller disturbance to the 8.

# %%
from reference.attacks import deepfool
from reference.conformance.adapters.ours import Definitions

show(deepfool)
show(Definitions.robustness)

# %% [markdown]
# ## The smallest step that DeepFool finds
#
# DeepFool pretends that the network is linear, walks to the nearest boundary of that linear network, looks again, and stops
# as soon as the class has changed.  **Why look again?**  The network is not linear, so the first guess falls short.
#
# **Why is the order another than under the figure?**  The figure shows one image, and its
# attack goes on until a network is 80 % sure.  DeepFool stops where a network hesitates between two classes, and its ρ is an
# average over all images of the page `attack.html`.  Two such lists of ρ may differ in order, so always name attack and images.

# %%
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
found = measure(weak, content.images, model.logits)
wrong = found.rho * found.success_rate  # failures are added as 0
print(f"success {found.success_rate:.0%}")
print(f"rho over successes {found.rho:.3f}, failures counted as 0 {wrong:.3f}")
assert 0 < wrong < found.rho < rho["undefended"]

# %% [markdown]
# ## Exercise and questions
#
# In the folder and with the Python that have made this page, `python -m reference.lessons exercise robustness` writes a file
# `robustness.py` and asks you to write ρ in it.  Then
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
# <details><summary>A change r of length 1 to an image of length 10, and of length 1 to one of length 5: what is ρ?</summary>
#
# The mean of 0.1 and 0.2, which is 0.15.  It is not 2 / 15: each image counts alike.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# The authors average the last iterate of failed attacks in.  Here ρ is over the successes, and the success rate stands
# beside it.
# </details>
