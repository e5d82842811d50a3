"""Tracking: every run and model, told to a server of our own and kept until it has them."""
