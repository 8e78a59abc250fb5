"""Ready adapters, each an example to copy: `ours` (the definitions, the steps by hand), `pytorch`, `jax`."""
