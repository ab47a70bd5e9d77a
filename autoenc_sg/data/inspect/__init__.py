"""Statistics and checks of a data set."""
