"""Hundreds of command lines: see fuzz.py."""

import os

import fuzz
import pytest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_every_command_line_ends_well():
    bad = fuzz.main()
    assert not bad, "\n".join(f"{line}\n    {wrong.strip()[-400:]}" for line, wrong in bad.items())
