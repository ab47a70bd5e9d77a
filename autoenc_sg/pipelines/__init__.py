"""Jobs from files to files: demo, reconstruct, generate, sample."""
