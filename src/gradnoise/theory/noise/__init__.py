"""The noise of one step: its covariance, its scale, and the step and the batch that suit it."""
