"""Other published annotation formats."""
