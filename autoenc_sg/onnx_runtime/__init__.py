"""An exported model (`autoenc-sg export onnx`) in onnxruntime, with NumPy and Pillow alone.

    from autoenc_sg.onnx_runtime import OnnxModel

    model = OnnxModel("exported")
    graph = model.parse("photo.jpg")
    picture = model.render(graph, seed=0)

Nothing here imports PyTorch. The four networks are ONNX graphs of free sizes; between them NumPy
chooses (proposals, non-maximum suppression, pairs), as the detector and the model do in PyTorch.
"""

from autoenc_sg.onnx_runtime.graph import OnnxGraph
from autoenc_sg.onnx_runtime.model import OnnxModel

__all__ = ["OnnxGraph", "OnnxModel"]
