"""The ranker at its best: contenders, feature families and tuning, judged across repositories."""
