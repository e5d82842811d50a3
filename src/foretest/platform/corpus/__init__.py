"""The corpus: undone changes and faults of many real repositories, kept as facts."""
