"""What the tests of the platform share."""

from postgres_server import postgres

__all__ = ["postgres"]
