"""Questions about the method, each answered by a command: `python -m reference.studies` lists them."""
