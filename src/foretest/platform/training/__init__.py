"""Training: a candidate is fitted, examined, described, and released where it passes."""
