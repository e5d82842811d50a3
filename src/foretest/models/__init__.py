"""One file a model, one shared contract."""
