"""Fit the reference model: a logistic regression a finding, on `reference/main.py`'s features.

python train/reference.py TRAIN.npz VALID.npz
"""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

CUBE = Path(__file__).resolve().parent.parent / "reference"


def main(train: Path, valid: Path) -> None:
    """Fit on one file, say the AUCs on the other, and write the cube's weights."""
    cube = SimpleNamespace(**runpy.run_path(str(CUBE / "main.py")))
    sets = []
    for path in (train, valid):
        with np.load(path) as arrays:
            rows = np.stack([cube.features(p, (5, 95)) for p in arrays["pictures"]])
            sets.append((rows, arrays["labels"]))
    (inputs, labels), (held_out, truth) = sets
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    slopes, offsets = [], []
    for index, name in enumerate(cube.FINDINGS):
        known, judged = labels[:, index] >= 0, truth[:, index] >= 0
        model = LogisticRegression(C=0.3, max_iter=2000)
        model.fit(((inputs - mean) / scale)[known], labels[known, index])
        scores = model.decision_function(((held_out - mean) / scale)[judged])
        print(f"{name}: AUC {roc_auc_score(truth[judged, index], scores):.3f}")
        slopes.append(model.coef_[0])
        offsets.append(model.intercept_[0])
    folder = CUBE / "workspace/additional_files"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "reference.npz",
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        slope=np.array(slopes, dtype=np.float32),
        offset=np.array(offsets, dtype=np.float32),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
