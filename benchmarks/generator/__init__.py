"""Time, memory and learning of generator and layout."""
