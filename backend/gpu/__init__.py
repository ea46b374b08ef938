"""Computing on a GPU, by Theano's GPU backend on libgpuarray: CUDA and OpenCL.

`devices` finds the device and its libraries, `ops` are Theano ops with kernels of the project's own, `rewrites` put
those in the place of the formulas of `layers` when a function is compiled, and `dnn` makes Theano's operations on
cuDNN run with its recent versions.
"""
