"""Ready adapters, each an example to copy: `ours` (plain definitions, adjoint twins), `pytorch`, `jax`."""
