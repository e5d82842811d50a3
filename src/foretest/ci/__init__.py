"""Where a run takes place in CI: what each system's own variables say of it."""
