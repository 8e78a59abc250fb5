"""The nine lessons, each a file of text and code cells; `python -m reference.lessons read` makes their pages."""
