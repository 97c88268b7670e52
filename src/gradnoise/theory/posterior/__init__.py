"""Gaussian posteriors: how far a law is from one, and the evidence."""
