"""Power laws and noise of infinite variance."""
