"""The benchmark, `python -m reference.bench`: what a training step costs, beside other ways to compute the same."""
