"""Relations for images that have boxes alone, proposed by a prior of other images' graphs."""
