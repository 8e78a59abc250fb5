"""The training steps written out: the passes, the attack's reverse pass, and each defence's step, on raw arrays."""
