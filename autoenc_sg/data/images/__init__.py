"""Image files, archives and the cache of decoded images."""
