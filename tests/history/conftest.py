"""What the tests of history share."""

from postgres_server import postgres

__all__ = ["postgres"]
