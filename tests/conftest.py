"""Property tests draw the same examples on every run: a red test stays red until it is mended."""

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=25, print_blob=True, database=None)
settings.load_profile("ci")
