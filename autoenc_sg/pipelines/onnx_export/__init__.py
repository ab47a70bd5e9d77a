"""A checkpoint as ONNX graphs that `autoenc_sg.onnx_runtime` runs."""
