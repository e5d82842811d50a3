"""What happened: one small reader per report format, one normaliser."""
