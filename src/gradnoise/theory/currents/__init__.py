"""Probability currents: where the stationary law is not in equilibrium."""
