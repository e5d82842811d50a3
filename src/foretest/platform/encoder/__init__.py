"""The code encoder: changes and tests as vectors, learned from which of them belong together."""
