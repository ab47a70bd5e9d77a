"""What people look at: pictures of graphs, boxes and curves, tables, progress, the HTML report."""
