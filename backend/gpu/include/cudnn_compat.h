/* What Theano 1.0.5 calls and cuDNN 8 and 9 no longer have, in terms of what they have.

   Included by a generated cudnn.h (see gpu/dnn.py) that first defines
     GOGH_CUDNN  the real cudnn.h, in quotes
     GOGH_TF32   1 where float32 convolutions may be computed in TF32, else 0 */
#ifndef GOGH_CUDNN_COMPAT_H
#define GOGH_CUDNN_COMPAT_H

#include GOGH_CUDNN

#if CUDNN_MAJOR >= 8

/* Choosing an algorithm: cuDNN 8 keeps the function that lists the algorithms, fastest first as far as it can guess,
   and leaves the choice to the caller. */

typedef enum {
  CUDNN_CONVOLUTION_FWD_NO_WORKSPACE = 0,
  CUDNN_CONVOLUTION_FWD_PREFER_FASTEST = 1,
  CUDNN_CONVOLUTION_FWD_SPECIFY_WORKSPACE_LIMIT = 2
} cudnnConvolutionFwdPreference_t;

typedef enum {
  CUDNN_CONVOLUTION_BWD_FILTER_NO_WORKSPACE = 0,
  CUDNN_CONVOLUTION_BWD_FILTER_PREFER_FASTEST = 1,
  CUDNN_CONVOLUTION_BWD_FILTER_SPECIFY_WORKSPACE_LIMIT = 2
} cudnnConvolutionBwdFilterPreference_t;

typedef enum {
  CUDNN_CONVOLUTION_BWD_DATA_NO_WORKSPACE = 0,
  CUDNN_CONVOLUTION_BWD_DATA_PREFER_FASTEST = 1,
  CUDNN_CONVOLUTION_BWD_DATA_SPECIFY_WORKSPACE_LIMIT = 2
} cudnnConvolutionBwdDataPreference_t;

/* The first algorithm whose workspace fits; among those, one that gives the same bits each time goes first, so that a
   training can be repeated. */
template <class Perf, class Algo>
static cudnnStatus_t gogh_choose(cudnnStatus_t status, const Perf *found, int count, int preference,
                                 size_t limit, Algo *algo) {
  if (status != CUDNN_STATUS_SUCCESS)
    return status;
  for (int deterministic = 1; deterministic >= 0; deterministic--)
    for (int i = 0; i < count; i++)
      if (found[i].status == CUDNN_STATUS_SUCCESS &&
          (preference == 1 || found[i].memory <= (preference == 0 ? 0 : limit)) &&
          (!deterministic || found[i].determinism == CUDNN_DETERMINISTIC)) {
        *algo = found[i].algo;
        return CUDNN_STATUS_SUCCESS;
      }
  return CUDNN_STATUS_NOT_SUPPORTED;
}

static inline cudnnStatus_t cudnnGetConvolutionForwardAlgorithm(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
    const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t y,
    cudnnConvolutionFwdPreference_t preference, size_t limit, cudnnConvolutionFwdAlgo_t *algo) {
  cudnnConvolutionFwdAlgoPerf_t found[CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
  int count = 0;
  cudnnStatus_t status = cudnnGetConvolutionForwardAlgorithm_v7(
      handle, x, w, conv, y, CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &count, found);
  return gogh_choose(status, found, count, preference, limit, algo);
}

static inline cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t conv, const cudnnFilterDescriptor_t dw,
    cudnnConvolutionBwdFilterPreference_t preference, size_t limit, cudnnConvolutionBwdFilterAlgo_t *algo) {
  cudnnConvolutionBwdFilterAlgoPerf_t found[CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT];
  int count = 0;
  cudnnStatus_t status = cudnnGetConvolutionBackwardFilterAlgorithm_v7(
      handle, x, dy, conv, dw, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, &count, found);
  return gogh_choose(status, found, count, preference, limit, algo);
}

static inline cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t dx,
    cudnnConvolutionBwdDataPreference_t preference, size_t limit, cudnnConvolutionBwdDataAlgo_t *algo) {
  cudnnConvolutionBwdDataAlgoPerf_t found[CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT];
  int count = 0;
  cudnnStatus_t status = cudnnGetConvolutionBackwardDataAlgorithm_v7(
      handle, w, dy, conv, dx, CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, &count, found);
  return gogh_choose(status, found, count, preference, limit, algo);
}

/* TF32: what Theano asks for, CUDNN_DEFAULT_MATH, meant exact float32 up to cuDNN 7 and lets cuDNN 8 and later use
   TF32. A fresh descriptor has the default too, and the algorithm is chosen by it. */

static inline cudnnStatus_t gogh_set_math(cudnnConvolutionDescriptor_t conv, cudnnMathType_t math) {
  return cudnnSetConvolutionMathType(conv, math == CUDNN_DEFAULT_MATH && !GOGH_TF32 ? CUDNN_FMA_MATH : math);
}

static inline cudnnStatus_t gogh_set_convolution(
    cudnnConvolutionDescriptor_t conv, int ndim, const int *pad, const int *stride, const int *dilation,
    cudnnConvolutionMode_t mode, cudnnDataType_t precision) {
  cudnnStatus_t status = cudnnSetConvolutionNdDescriptor(conv, ndim, pad, stride, dilation, mode, precision);
  return status == CUDNN_STATUS_SUCCESS ? gogh_set_math(conv, CUDNN_DEFAULT_MATH) : status;
}

#define cudnnSetConvolutionMathType gogh_set_math
#define cudnnSetConvolutionNdDescriptor gogh_set_convolution

#endif
#endif
