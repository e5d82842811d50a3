"""The platform: corpus, training, tuning, tracking and the gate, on one machine or on Ray."""
