"""The paper, by autograd: the definitions against which all else is tested.  `README.md` has the reading order."""
