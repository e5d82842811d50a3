"""What a replay found, as one HTML page with charts that needs no network."""
