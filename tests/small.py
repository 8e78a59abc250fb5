"""The smallest experiment that does everything."""

from dataclasses import replace

from reference.experiment.plans import QUICK
from reference.method.settings import Undefended

TINY = replace(
    QUICK,
    training=replace(QUICK.training, hidden=(8,), batch=500, epochs=2, learning_rate=0.01),
    defences={
        "critic": replace(QUICK.defences["critic"], hidden=(8,)),
        "undefended": Undefended(),
    },
    test_images=20,
    slow_images=4,
    search_steps=1,
    attack_iterations=5,
    radii=(0.5, 1.0),
)
