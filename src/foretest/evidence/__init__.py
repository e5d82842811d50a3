"""What links a test to code: coverage, imports, text, co-change, propagation."""
