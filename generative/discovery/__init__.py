"""Directions found in weights, samples, labels or text. One method a file."""
