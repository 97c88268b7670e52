"""Samplers above 1000 parameters, whose steps are diagonal or of low rank."""
