"""Pictures of graphs, boxes and curves, and the HTML report."""
