"""A backend that runs networks on the CPU in oneDNN's blocked layout.

`library` builds and calls the native code, `ops` are Theano ops on it, and `rewrites` put those ops
in the place of convolutions and of the operations of `formulas` when a function is compiled.
"""
