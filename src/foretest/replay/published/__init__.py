"""Published recipes for predictive selection, written anew: baselines for the judge."""
