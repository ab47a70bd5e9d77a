"""Visual Genome in the VG150 file format: reading and writing."""
