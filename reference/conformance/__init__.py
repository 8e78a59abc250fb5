"""Conformance: other implementations of the method, held to the same mathematics."""
