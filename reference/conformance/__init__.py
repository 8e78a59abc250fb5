"""The conformance kit: checks anyone's implementation of the method against this one, and names the mistake.

    python -m reference.conformance run MODULE[:OBJECT]

The runner needs NumPy and the standard library only: its cases are data.  README.md, beside this file, is the guide.
"""
