"""foretest: the tests a change can break, first."""

__version__ = "0.1.0"
