"""The two errors of this project; anything else that is raised is a bug."""


class InputError(ValueError):
    """A caller's input is wrong; the message says what was wrong and what to do."""


class DivergenceError(ArithmeticError):
    """Training produced a nan or an infinity; the message says where and what to change."""
