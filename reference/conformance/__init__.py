<<<<<<< HEAD
"""Conformance: other implementations of the method, held to the same mathematics."""
=======
"""The conformance kit: checks anyone's implementation of the method against this one, and names the mistake.

    python -m reference.conformance run MODULE[:OBJECT]

The runner needs NumPy and the standard library only: its cases are data.  README.md, beside this file, is the guide.
"""
>>>>>>> ac47e12 (Conformance kit: what it asks of an implementation; our two paths as adapters)
