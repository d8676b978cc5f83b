"""The science: generators, latent spaces, inversion, editing, discovery. It knows no service."""
