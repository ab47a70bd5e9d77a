"""Configurations: YAML files, overrides, and the parts that are built from them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

from autoenc_sg.config.files import config_to_dict, load_config
from autoenc_sg.config.run import RunConfig
from tests.support.mutations import HOSTILE, mutated_bytes, mutated_value, places
from tests.support.tiny import TINY

TEXTS = (
    "[" * 3000, "{a: " * 3000, "&a [*a, *a]", "!!python/object:os.system x", "1e999",
    "0x7" + "f" * 40,
    "100000000", "99999999999999999999", "-1", ".nan", ".inf", "-.inf", "2026-99-99", "~", "on",
    "[1, 100000000]", "1:2:3:4", "!!binary zz", "!!set {a, b}", "? [1]\n: 2", "\0", "@", "%TAG",
    "[" + "64, " * 3000 + "64]", "1_0_0_0_0_0_0_0_0", "'" + "x" * 5000 + "'", "<<: 3", "*nothing",
)  # fmt: skip
LAUGHS = "a: &a [1, 1]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


class ConfigFiles:
    """The defaults or a small configuration, with values, text or overrides changed."""

    def __init__(self, root: Path) -> None:
        self.path = root / "c.yaml"
        self.values = [config_to_dict(RunConfig()), yaml.safe_load(TINY)]
        self.names = [
            ".".join(path)
            for path in places(self.values[0])
            if path and all(isinstance(key, str) for key in path)
        ]

    def turn(self, rng: random.Random) -> None:
        value, overrides = rng.choice(self.values), []
        kind = rng.randrange(4)
        if kind == 0:
            content = yaml.safe_dump(mutated_value(value, rng)).encode("utf-8", "replace")
        elif kind == 1:
            content = mutated_bytes(yaml.safe_dump(value).encode(), rng)
        elif kind == 2:
            content = self._with_text(value, rng)
        else:
            content = yaml.safe_dump(value).encode()
            for _ in range(rng.choice((1, 2))):
                text = rng.choice((*TEXTS, *map(str, HOSTILE)))
                overrides += [f"--{rng.choice(self.names)}", text]
        self.path.write_bytes(content)
        config = load_config(self.path, overrides)
        assert config_to_dict(config)

    def _with_text(self, value: dict[str, Any], rng: random.Random) -> bytes:
        if rng.random() < 0.05:
            return LAUGHS.encode()
        lines = yaml.safe_dump(value).split("\n")
        row = rng.randrange(len(lines) - 1)
        lines[row] = lines[row].partition(":")[0] + ": " + rng.choice(TEXTS)
        return "\n".join(lines).encode()
