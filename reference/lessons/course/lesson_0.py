# %% [markdown]
# # 0 · A small step: how little fools a network?
#
# A network reads a handwritten 4 and is right.  Change the image a little, in a direction that the network's own
# gradient names, and the same network says 9, although you would still say 4.
#
# The images have 28×28 pixels, each a number from 0 (paper) to 1 (ink).  No network was trained on those that you see
# here.
#
# The figure compares six networks.  One is *undefended*: it was trained as usual.  The others were each trained with
# a *defence* that is meant to make them harder to fool.  This course is about one defence, the *adversary critic*.
#
# Before you look, guess: what share of the image has to change before the undefended network gives in?  One half?  A
# tenth?

# %%
from reference.lessons import figures, page
from reference.lessons.build import figure, show

content = page.shipped()
x = content.images[page.DIGIT]  # the first 4 of the test images
drawn = figures.attacked_digits(content.networks, x, 4, 9, 0.8)
figure(
    drawn,
    "Above: one 4, and the same image after each network was made 80 % sure that it "
    "is a 9.  Below: what was changed, orange where ink was added and blue where it "
    "was removed, and its length as a share of the image's.  A faint noise is enough "
    "for the undefended network; the others are fooled when strokes change.",
)

# %% [markdown]
# ## How large is a change?
#
# The length of a change r is ‖r‖, the root of the sum of its squared pixels.  It is divided by the length of the
# image: a change of length 1 to an image of length 10 counts as 0.1.  The mean over n test images is called ρ:
#
# $$\rho = \frac{1}{n} \sum_{i=1}^n \frac{\lVert r_i \rVert}{\lVert x_i \rVert}$$
#
# An *attack* is a procedure that looks for a short r that fools the network, and ρ depends on it.  A *stronger*
# attack finds shorter r, so that its ρ is smaller.  **Why a ratio?**  A thin 1 has little ink and a fat 8 has much,
# so the same length of change disturbs the 8 less.

# %%
from reference.attacks import deepfool
from reference.conformance.adapters.ours import Definitions

show(deepfool)
show(Definitions.robustness)

# %% [markdown]
# ## The attack DeepFool
#
# DeepFool replaces the network by its linear approximation at the image and steps to the nearest boundary between
# classes of that approximation.  It repeats this from the new image until the class has changed.  **Why repeat?** The
# network is not linear, so a step may miss its true boundary.
#
# The printed ρ rank the networks differently from the figure.  **Why?**  The figure shows one image, and its attack
# goes on until the network is 80 % sure.  DeepFool stops as soon as the class changes, and ρ is a mean over all
# images in `content`.  So always name the attack and the images.

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
assert rho["margin"] < rho["virtual"]  # in the figure it is the other way round

# %% [markdown]
# ## A mistake that hides in an average
#
# Suppose an attack fails on many images, because it was given too few steps.  If each failure is counted as a change
# of length 0, the network looks weak, although it is the attack that is weak.  The mean over the successes alone is
# too small as well, because the images that are fooled first are the easy ones.  Only the success rate beside it
# shows that.

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
# Run the commands in the project's folder, with the Python that made this page.
# `python -m reference.lessons exercise robustness` writes a file `robustness.py` in which you write ρ.  Then
# `python -m reference.lessons check robustness.py` says within seconds whether it is right.  With `--hint` it says
# what is wrong, and with `--solution` it prints the right lines and why.  Every lesson's exercise goes like this.
#
# <details><summary>An image is misclassified from the start.  What is its r?</summary>
#
# If the attack has to lead away from the true label, nothing has to change: r = 0, and the image counts as 0.  If it
# has to lead away from the *predicted* label, r is not 0.  Both conventions are honest; mixing them is not.
# </details>
# <details><summary>Is ρ an upper or a lower bound on the mean of the smallest changes that fool the network?</summary>
#
# An upper bound, if every attack succeeded: it found changes of that length, and a stronger attack may find shorter
# ones.
# </details>
# <details><summary>A change of length 1 is made to an image of length 10, and another one to an image of length 5.  What is ρ?</summary>
#
# The mean of 0.1 and 0.2, which is 0.15.  It is not 2 / 15: each image counts alike.
# </details>
# <details><summary>Paper, authors' code, ours?</summary>
#
# Where an attack failed, the authors average its last image in.  Here ρ is over the successes, and the success rate
# stands beside it.
# </details>
