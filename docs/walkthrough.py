"""A first walk through autoenc-sg, to be read from top to bottom or run cell by cell.

Run `autoenc-sg demo` first (8 to 13 minutes on 2 cores), then `python docs/walkthrough.py` in
the same folder. It writes into `walkthrough/`.
"""

# %% A trained model
# The demo trained on drawn scenes: small worlds with people, animals, trees, houses, and so on. A
# checkpoint holds the model, its configuration and its vocabulary.

from dataclasses import replace
from pathlib import Path

import autoenc_sg

OUT = Path("walkthrough")
OUT.mkdir(exist_ok=True)

model = autoenc_sg.AutoEncoder.from_checkpoint("runs/demo")
print(model.vocabulary.num_objects - 1, "classes:", ", ".join(model.vocabulary.objects[1:]))
print(
    model.vocabulary.num_predicates - 1, "predicates:", ", ".join(model.vocabulary.predicates[1:])
)

# %% A photo of the test split, and its true graph
# A data set gives samples: an image (uint8, 3 x H x W) and a SceneGraph.

test = autoenc_sg.open_dataset(model.config.data, "test")
sample = test[0]
truth = sample.graph
print(truth)

# %% parse: from the photo to a graph
# The detector finds objects, the relation proposal network chooses pairs, the graph network names
# classes and predicates. Scores are probabilities.

graph = model.parse(sample.image)
print(graph)

# %% render: from the graph to a picture
# The generator lays the objects out by their boxes and masks and draws the layout. The seed is that
# of its noise.

model.render(graph, seed=0).save(OUT / "reconstruction.png")
model.render(truth, seed=0).save(OUT / "from_true_graph.png")

# %% Edit the graph, draw it again
# A graph never changes; each edit returns a new one.

edited = graph.add("tree", (4, 40, 40, 110))
if len(graph) > 0:
    edited = edited.relate(len(graph), "near", 0)
print(edited)
model.render(edited, seed=0).save(OUT / "with_a_tree.png")

# %% Relations of boxes that you know
# Given boxes are SGCls in the field's words, given boxes and classes PredCls.

predicted = model.parse(sample.image, truth.boxes, truth.labels)
print(predicted)
right = set(predicted.relations) & set(truth.relations)
print(f"{len(right)} of {len(truth.relations)} true relations are predicted")

# %% How good is it?
# Recall as Neural Motifs counts it, beside a prior that only counts training triples, on the first
# 20 images. `autoenc-sg evaluate runs/demo` scores them all.

from autoenc_sg.scoring.options import EvaluationOptions  # noqa: E402

scores = autoenc_sg.evaluate(model, options=EvaluationOptions(limit=20), quiet=True).to_dict()
for name in ("SGGen R@50", "frequency prior SGGen R@50", "predicted graph L1", "mean image L1"):
    print(f"{name}: {scores[name]:.3f}")

# %% Train it further, with other settings
# Any value of the configuration can be changed; this continues from the demo's weights.

config = replace(
    autoenc_sg.load_config("runs/demo/config.yaml", ["--joint.steps", "3"]),
    out=str(OUT / "run"),
)
checkpoint = autoenc_sg.train(
    config,
    ["joint"],
    on_step=lambda step: print(step.phase, step.step, f"{sum(step.losses.values()):.3f}"),
)
print(checkpoint)
