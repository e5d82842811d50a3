"""What the pytest plugin does once it is on: pytest and the standard library alone."""
