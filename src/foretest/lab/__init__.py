"""Where labels come from: undone changes, injected faults, isolated runs."""
