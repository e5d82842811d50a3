"""One featurisation for training, serving and replay."""
