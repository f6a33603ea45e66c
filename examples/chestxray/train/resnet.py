"""Train the residual network with torch and export it for the NumPy inference of `resnet/main.py`.

    python train/resnet.py OUT.npz TRAIN.npz… --valid VALID.npz --seeds 1 --widths 16,32,56

With several seeds, a network is trained for each and the export holds them all; they are averaged.
"""

import argparse
import runpy
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

CUBE = Path(__file__).resolve().parent.parent / "resnet"


class Convolution(nn.Module):
    """A convolution with batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int, edge: int = 3) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(inputs, outputs, edge, stride, edge // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, planes: Tensor) -> Tensor:
        return self.norm(self.kernel(planes))

    def folded(self) -> np.ndarray:
        """Kernel and offset as one matrix: (positions x inputs + 1, outputs)."""
        norm = self.norm
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernel = self.kernel.weight * gain[:, None, None, None]
        matrix = kernel.permute(2, 3, 1, 0).reshape(-1, kernel.shape[0])
        offset = norm.bias - norm.running_mean * gain
        return torch.cat([matrix, offset[None]]).detach().numpy()


class Block(nn.Module):
    """Two convolutions beside a short cut; where the width changes, the picture is halved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.one = Convolution(inputs, outputs, stride)
        self.two = Convolution(outputs, outputs, 1)
        self.skip = Convolution(inputs, outputs, 2, 1) if stride == 2 else None

    def forward(self, planes: Tensor) -> Tensor:
        inner = self.two(functional.relu(self.one(planes)))
        return functional.relu(inner + (planes if self.skip is None else self.skip(planes)))


class Network(nn.Module):
    """Stem, one block at the first width, two at each further one, mean and maximum, head."""

    def __init__(self, widths: list[int], findings: int) -> None:
        super().__init__()
        self.stem = Convolution(1, widths[0], 2)
        blocks = [Block(widths[0], widths[0])]
        for before, after in pairwise(widths):
            blocks += [Block(before, after), Block(after, after)]
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(2 * widths[-1], findings)

    def forward(self, pictures: Tensor) -> Tensor:
        planes = functional.relu(self.stem(pictures[:, None]))
        for block in self.blocks:
            planes = block(planes)
        pooled = torch.cat([planes.mean(dim=(2, 3)), planes.amax(dim=(2, 3))], dim=1)
        return self.head(functional.dropout(pooled, 0.2, self.training))

    def exported(self, name: str) -> dict[str, np.ndarray]:
        """The arrays that `resnet/main.py` reads."""
        arrays = {f"{name}.stem": self.stem.folded()}
        for index, block in enumerate(self.blocks):
            for part in ("one", "two", "skip"):
                if (layer := getattr(block, part)) is not None:
                    arrays[f"{name}.{index}.{part}"] = layer.folded()
        head = torch.cat([self.head.weight.T, self.head.bias[None]])
        arrays[f"{name}.head"] = head.detach().numpy()
        return {key: value.astype(np.float16) for key, value in arrays.items()}


def varied(batch: Tensor, draw: torch.Generator) -> Tensor:
    """The pictures a little shifted, brighter or darker, with another tone and more grain."""
    count = len(batch)
    down, across = (int(v) for v in torch.randint(-5, 6, (2,), generator=draw))
    batch = torch.roll(batch, (down, across), dims=(1, 2))
    factor = 1 + 0.12 * torch.randn(count, 1, 1, generator=draw)
    bend = 0.06 * torch.randn(count, 1, 1, generator=draw)
    grain = 0.06 * torch.randn(batch.shape, generator=draw)
    return batch * factor + bend * (batch * batch - 1) + grain


def fit(train: tuple[Tensor, Tensor], widths: list[int], seed: int, epochs: int) -> Network:
    """A trained network; uncertain labels (-1) do not count."""
    pictures, labels = train
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    net = Network(widths, labels.shape[1]).to(memory_format=torch.channels_last)
    size = 48
    steps = epochs * (len(pictures) // size)
    learner = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.02)
    pace = torch.optim.lr_scheduler.OneCycleLR(learner, 4e-3, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        start, total = time.time(), 0.0
        order = torch.randperm(len(pictures), generator=draw)
        for index in range(len(pictures) // size):
            chosen = order[index * size : (index + 1) * size]
            truth = labels[chosen]
            with torch.autocast("cpu", torch.bfloat16):
                guess = net(varied(pictures[chosen], draw)).float()
            known = (truth >= 0).float()
            soft = truth.clamp(min=0) * 0.96 + 0.02
            losses = functional.binary_cross_entropy_with_logits(guess, soft, reduction="none")
            loss = (losses * known).sum() / known.sum()
            learner.zero_grad()
            loss.backward()
            learner.step()
            pace.step()
            total += loss.item()
        mean = total / (len(pictures) // size)
        print(
            f"seed {seed} epoch {epoch + 1}: loss {mean:.4f}, {time.time() - start:.0f} s",
            flush=True,
        )
    return net.eval()


def main() -> None:
    """Train, export, and say the AUCs of the exported weights in NumPy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("train", type=Path, nargs="+")
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--widths", default="16,32,56")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    cube = SimpleNamespace(**runpy.run_path(str(CUBE / "main.py")))
    pictures, labels = [], []
    for path in options.train:
        with np.load(path) as arrays:
            pictures.append(cube.standard(arrays["pictures"]))
            labels.append(arrays["labels"])
    train = (
        torch.from_numpy(np.concatenate(pictures)),
        torch.from_numpy(np.concatenate(labels)).float(),
    )
    widths = [int(width) for width in options.widths.split(",")]
    weights: dict[str, np.ndarray] = {}
    nets = []
    for index, seed in enumerate(options.seeds.split(",")):
        nets.append(fit(train, widths, int(seed), options.epochs))
        weights |= nets[-1].exported(str(index))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **weights)
    with np.load(options.valid) as arrays:
        held_out, truth = arrays["pictures"], arrays["labels"]
    found = np.concatenate(
        [cube.chances(part, cube.load(options.out)) for part in np.split(held_out, 50)]
    )
    with torch.no_grad():
        ready = torch.from_numpy(cube.standard(held_out))
        same = torch.stack([torch.sigmoid(net(ready)) for net in nets]).mean(dim=0).numpy()
    print(f"NumPy and torch differ by at most {np.abs(found - same).max():.4f}")
    for index, name in enumerate(cube.FINDINGS):
        judged = truth[:, index] >= 0
        print(f"{name}: AUC {roc_auc_score(truth[judged, index], found[judged, index]):.3f}")


if __name__ == "__main__":
    main()
