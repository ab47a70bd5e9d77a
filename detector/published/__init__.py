"""Other programs' detector weights: their names and their classes as ours."""
