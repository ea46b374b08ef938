/* The few types of CUDA that the headers of libgpuarray and cuDNN mention, all of them opaque handles.

   CUDA's own headers come in several packages, of which the one with cuDNN needs none; these do for calling cuDNN. */
#ifndef GOGH_CUDA_H
#define GOGH_CUDA_H

#include <stddef.h>

typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef unsigned long long CUdeviceptr;
typedef struct { char reserved[64]; } CUipcMemHandle;

typedef struct CUstream_st *cudaStream_t;
typedef struct CUgraph_st *cudaGraph_t;

#endif
