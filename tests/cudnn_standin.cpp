/* A library for cudnn_standin.h: nothing computes. A convolution descriptor is a place for its math type, and the same
   candidates come up for every convolution. */
#ifndef BODY
#define BODY { return CUDNN_STATUS_SUCCESS; }
#endif
#include "cudnn_standin.h"

size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
const char *cudnnGetErrorString(cudnnStatus_t) { return "an error of the stand-in"; }

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t descriptor, cudnnMathType_t math) {
  *(cudnnMathType_t *)descriptor = math;
  return CUDNN_STATUS_SUCCESS;
}

template <class Perf, class Algo>
static cudnnStatus_t list(int wanted, int *count, Perf *found, const Algo *algos) {
  const Perf all[4] = {{algos[0], CUDNN_STATUS_SUCCESS, 1, 1000, CUDNN_NON_DETERMINISTIC, CUDNN_DEFAULT_MATH, {0}},
                       {algos[1], CUDNN_STATUS_NOT_SUPPORTED, -1, 0, CUDNN_DETERMINISTIC, CUDNN_DEFAULT_MATH, {0}},
                       {algos[2], CUDNN_STATUS_SUCCESS, 2, 100, CUDNN_DETERMINISTIC, CUDNN_DEFAULT_MATH, {0}},
                       {algos[3], CUDNN_STATUS_SUCCESS, 3, 0, CUDNN_NON_DETERMINISTIC, CUDNN_DEFAULT_MATH, {0}}};
  for (*count = 0; *count < wanted && *count < 4; ++*count)
    found[*count] = all[*count];
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(
    cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnFilterDescriptor_t, const cudnnConvolutionDescriptor_t,
    const cudnnTensorDescriptor_t, const int wanted, int *count, cudnnConvolutionFwdAlgoPerf_t *found) {
  const cudnnConvolutionFwdAlgo_t algos[] = {
      CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD, CUDNN_CONVOLUTION_FWD_ALGO_FFT,
      CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM};
  return list(wanted, count, found, algos);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnConvolutionDescriptor_t,
    const cudnnFilterDescriptor_t, const int wanted, int *count, cudnnConvolutionBwdFilterAlgoPerf_t *found) {
  const cudnnConvolutionBwdFilterAlgo_t algos[] = {
      CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
      CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0};
  return list(wanted, count, found, algos);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(
    cudnnHandle_t, const cudnnFilterDescriptor_t, const cudnnTensorDescriptor_t, const cudnnConvolutionDescriptor_t,
    const cudnnTensorDescriptor_t, const int wanted, int *count, cudnnConvolutionBwdDataAlgoPerf_t *found) {
  const cudnnConvolutionBwdDataAlgo_t algos[] = {
      CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD, CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
      CUDNN_CONVOLUTION_BWD_DATA_ALGO_0};
  return list(wanted, count, found, algos);
}
