"""Output for people: images of graphs, boxes and curves, tables, progress, the HTML report."""
