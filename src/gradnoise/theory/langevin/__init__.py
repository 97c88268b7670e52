"""Langevin samplers: their laws, their bias, their corrections."""
