"""Training of the built-in model: render a data set, learn features on it, train a generator against them,
ship."""
