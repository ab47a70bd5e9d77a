"""VG150 files from Visual Genome's raw JSON."""
