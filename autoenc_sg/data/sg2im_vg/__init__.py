"""sg2im's h5 files of Visual Genome: reading and building."""
