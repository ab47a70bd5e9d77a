"""The configuration of a run: plain frozen dataclasses, checked when made.

Every value can be set in a YAML file and on the command line by its dotted name, for example
`--joint.image_loss_weight 0`. The defaults are the paper's where it states one (section 4,
"Implementation Details"), else those of the code it builds on (sg2im, Graph R-CNN, Neural Motifs);
docs/paper.md lists what deviates, such as `generator.mask_size`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autoenc_sg.config.data import DataConfig
from autoenc_sg.config.model import (
    DecodeConfig,
    DetectorConfig,
    GeneratorConfig,
    RelpnConfig,
)
from autoenc_sg.config.phases import DetectorPhase, JointPhase, ReconstructionPhase
from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.config.runtime import RuntimeConfig


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Attributes:
        out: folder of checkpoints, logs and results.
        seed: of initialization, order, augmentation and noise.
    """

    out: str = "runs/run"
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    relpn: RelpnConfig = field(default_factory=RelpnConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    detector_training: DetectorPhase = field(default_factory=DetectorPhase)
    reconstruction: ReconstructionPhase = field(default_factory=ReconstructionPhase)
    joint: JointPhase = field(default_factory=JointPhase)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
