"""Linear recursions with noise: what every law here is read from."""
