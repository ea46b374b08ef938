"""A backend that runs networks on the CPU in oneDNN's blocked layout.

`library` builds and calls the native code, `ops` are Theano ops on it, and `rewrites` put those ops
in the place of convolutions and of the formulas of `layers` when a function is compiled.
"""
from .library import Unavailable, has_bf16

__all__ = ['Unavailable', 'register', 'has_bf16']

# Before `layers.lower_formulas`, which replaces what is left of the formulas by plain expressions.
POSITION = -0.02


def register(folder, bf16=False):
    """Make Theano use the native library, which is compiled into `folder` unless it is there already.

    With `bf16`, convolutions multiply in bfloat16 in functions that are compiled from then on.

    Raises
    ------
    Unavailable
        It cannot run here; the message says why.
    """
    from . import library
    library.load(folder)
    from . import rewrites
    rewrites.register(POSITION, bf16)
