"""Time and accuracy of detectors and their backbones."""
