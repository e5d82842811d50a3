"""From scores to a run: budget, rules, shards, explanation, runner formats."""
