"""Time, memory and recall of the patch bank."""
