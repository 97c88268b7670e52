"""What a trajectory shows: velocities, frequencies, autocovariances, and errors of what is estimated from it."""
