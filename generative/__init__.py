"""The science: generators, latent spaces, inversion, editing, discovery. Tensors in, tensors out; knows no service."""
