"""Learning rates and preconditioners that bring the stationary law nearest to a target."""
