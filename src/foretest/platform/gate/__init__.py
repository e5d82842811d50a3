"""The offline gate: what a model has to pass before anyone is served by it (docs/gate.md)."""
