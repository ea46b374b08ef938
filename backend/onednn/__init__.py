"""A backend that runs networks on the CPU in oneDNN's blocked layout.

`library` builds and calls the native code, `ops` are Theano ops on it, and `rewrites` put those ops
in the place of convolutions and of the operations of `formulas` when a function is compiled.
"""

from . import library, rewrites
from .library import Unavailable, has_bf16

__all__ = ['Unavailable', 'register', 'has_bf16']


def register(bf16=False):
    """Make Theano use the native library, which is compiled into the cache unless it is there already.

    With `bf16`, convolutions multiply in bfloat16 in functions that are compiled from then on.

    Raises
    ------
    Unavailable
        It cannot run here; the message says why.
    """
    library.load()
    rewrites.register(bf16)
