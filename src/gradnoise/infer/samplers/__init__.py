"""The samplers, one a file."""
