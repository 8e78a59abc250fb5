"""The method taught: exercises that the conformance kit grades."""
