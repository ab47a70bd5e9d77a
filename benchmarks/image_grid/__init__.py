"""What image losses add to graphs: settings, ways, cells, and their figures."""
