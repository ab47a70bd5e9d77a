"""Files of predictions and true graphs of any program, and their scores."""
