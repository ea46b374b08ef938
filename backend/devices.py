"""What computes: the processor or a GPU, and by which operations."""

from __future__ import annotations

import dataclasses
import re
import sys

import utils

# What computes imports Theano, which takes a second, and this module is for the command lines, too: hence the late
# imports.

__all__ = ['NAMES', 'BACKENDS', 'Device', 'use', 'held_memory']

NAMES = 'cpu, auto, cuda, cuda0 (or another number), opencl0:0 (platform:device)'
BACKENDS = 'onednn', 'plain'


@dataclasses.dataclass(frozen=True)
class Device:
    """A device, and how it computes.

    Parameters
    ----------
    name : str
        'cpu'; 'cuda' (the first one that can be had), 'cuda0' …, or 'opencl0:0' … (platform and device); 'auto' for
        'cuda', or else 'cpu'.
    backend : {'onednn', 'plain'}
        On the processor: oneDNN and the project's own native operations, or Theano's.
    precision : {'float32', 'bf16'}
        In what convolutions multiply: bfloat16 is for the processor with onednn.
    tf32 : bool
        Multiply float32 in TF32, on NVIDIA cards that have it.

    Raises
    ------
    utils.UserError
        If there is no such device or backend, or they do not go together.
    """

    name: str = 'cpu'
    backend: str = 'onednn'
    precision: str = 'float32'
    tf32: bool = False

    def __post_init__(self):
        if self.backend not in BACKENDS:
            raise utils.UserError(f'GOGH_BACKEND={self.backend}: there are {" and ".join(BACKENDS)}')
        if not re.fullmatch(r'cpu|auto|cuda[0-9]{0,3}|opencl[0-9]{1,3}:[0-9]{1,3}', self.name):
            raise utils.UserError(f'--device {self.name}: there is no such device; there are {NAMES}')
        if self.precision == 'bf16' and (self.name != 'cpu' or self.backend != 'onednn'):
            raise utils.UserError('--precision bf16 is for the CPU with --backend onednn')


def use(device: Device) -> Device:
    """Compute there from now on; to be called before networks are built.

    Parameters
    ----------
    device : Device

    Returns
    -------
    Device
        What was chosen: with a name where 'auto' was asked for, and with Theano's own operations where oneDNN cannot
        be used, as one line on stderr says.

    Raises
    ------
    utils.UserError
        If the device cannot be used. Only 'auto' falls back on the processor.
    """
    if device.name != 'cpu':
        from backend.gpu import setup as gpu

        name = 'cuda' if device.name == 'auto' else device.name
        try:
            print(f'computing on {name}: {gpu.use(name, device.tf32)}', file=sys.stderr)
            return dataclasses.replace(device, name=name)
        except gpu.Unavailable as reason:
            if device.name != 'auto':
                raise utils.UserError(f'--device {device.name}: {reason}')
            print(f'computing on the CPU: {reason}', file=sys.stderr)
            device = dataclasses.replace(device, name='cpu')
    if device.backend == 'onednn' and not _use_onednn(device.precision):
        return dataclasses.replace(device, backend='plain')
    return device


def _use_onednn(precision):
    """Whether oneDNN could be used; without, bfloat16 cannot be had."""
    from backend import theano
    from backend.onednn import library, rewrites

    try:
        rewrites.register(bf16=precision == 'bf16')
    except library.Unavailable as reason:
        if precision == 'bf16':
            raise utils.UserError(f'--precision bf16: {reason}')
        print(f"warning: {reason}: using Theano's own operations, which are several times slower", file=sys.stderr)
        return False
    if precision == 'bf16' and not library.has_bf16():
        print(
            'warning: this processor has no instructions for bfloat16: --precision float32 is faster', file=sys.stderr
        )
    # What the library leaves to Theano is small: numpy does it, and nothing needs to be compiled. Fused elementwise ops
    # have no numpy function.
    theano.config.cxx, theano.config.linker = '', 'vm'
    theano.compile.mode.instantiated_default_mode = theano.compile.get_default_mode().excluding('fusion')
    return True


def held_memory() -> float:
    """Bytes that the pool of the native library holds for the next tensors and does not use now."""
    library = sys.modules.get('backend.onednn.library')
    if library is None or not library.loaded():
        return 0
    mapped, in_use = library.memory()
    return mapped - in_use
