"""How good samples are: distances between sets of pictures, in a pluggable feature space."""
