/* A stand-in for the header of cuDNN 9: what Theano's operations use of it, and what cuDNN 9 has in the place of what it
   dropped. cudnn_standin.cpp turns the declarations into a library. */
#ifndef CUDNN_STANDIN_H
#define CUDNN_STANDIN_H

#include <stddef.h>
#include <cuda_runtime_api.h>
#include <library_types.h>

#define CUDNN_MAJOR 9
#define CUDNN_MINOR 1
#define CUDNN_PATCHLEVEL 2
#define CUDNN_VERSION (CUDNN_MAJOR * 10000 + CUDNN_MINOR * 100 + CUDNN_PATCHLEVEL)
#define CUDNN_DIM_MAX 8

typedef enum { CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_NOT_SUPPORTED = 3000 } cudnnStatus_t;
typedef enum { CUDNN_DATA_FLOAT, CUDNN_DATA_DOUBLE, CUDNN_DATA_HALF, CUDNN_DATA_INT8, CUDNN_DATA_INT32 } cudnnDataType_t;
typedef enum {
  CUDNN_DEFAULT_MATH, CUDNN_TENSOR_OP_MATH, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION, CUDNN_FMA_MATH
} cudnnMathType_t;
typedef enum { CUDNN_NON_DETERMINISTIC, CUDNN_DETERMINISTIC } cudnnDeterminism_t;
typedef enum { CUDNN_NOT_PROPAGATE_NAN, CUDNN_PROPAGATE_NAN } cudnnNanPropagation_t;
typedef enum { CUDNN_TENSOR_NCHW } cudnnTensorFormat_t;
typedef enum { CUDNN_CONVOLUTION, CUDNN_CROSS_CORRELATION } cudnnConvolutionMode_t;
typedef enum {
  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
  CUDNN_CONVOLUTION_FWD_ALGO_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_DIRECT, CUDNN_CONVOLUTION_FWD_ALGO_FFT,
  CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD,
  CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED, CUDNN_CONVOLUTION_FWD_ALGO_COUNT
} cudnnConvolutionFwdAlgo_t;
typedef enum {
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT
} cudnnConvolutionBwdFilterAlgo_t;
typedef enum {
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING, CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED, CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT
} cudnnConvolutionBwdDataAlgo_t;
typedef enum {
  CUDNN_POOLING_MAX, CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING, CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING,
  CUDNN_POOLING_MAX_DETERMINISTIC
} cudnnPoolingMode_t;
typedef enum { CUDNN_SOFTMAX_FAST, CUDNN_SOFTMAX_ACCURATE, CUDNN_SOFTMAX_LOG } cudnnSoftmaxAlgorithm_t;
typedef enum { CUDNN_SOFTMAX_MODE_INSTANCE, CUDNN_SOFTMAX_MODE_CHANNEL } cudnnSoftmaxMode_t;
typedef enum { CUDNN_BATCHNORM_PER_ACTIVATION, CUDNN_BATCHNORM_SPATIAL } cudnnBatchNormMode_t;
typedef enum {
  CUDNN_REDUCE_TENSOR_ADD, CUDNN_REDUCE_TENSOR_MUL, CUDNN_REDUCE_TENSOR_MIN, CUDNN_REDUCE_TENSOR_MAX,
  CUDNN_REDUCE_TENSOR_AMAX, CUDNN_REDUCE_TENSOR_AVG, CUDNN_REDUCE_TENSOR_NORM1, CUDNN_REDUCE_TENSOR_NORM2
} cudnnReduceTensorOp_t;
typedef enum { CUDNN_REDUCE_TENSOR_NO_INDICES, CUDNN_REDUCE_TENSOR_FLATTENED_INDICES } cudnnReduceTensorIndices_t;
typedef enum { CUDNN_32BIT_INDICES } cudnnIndicesType_t;
typedef enum { CUDNN_SAMPLER_BILINEAR } cudnnSamplerType_t;
typedef enum { CUDNN_LINEAR_INPUT } cudnnRNNInputMode_t;
typedef enum { CUDNN_UNIDIRECTIONAL } cudnnDirectionMode_t;
typedef enum { CUDNN_RNN_RELU } cudnnRNNMode_t;
typedef enum { CUDNN_RNN_ALGO_STANDARD } cudnnRNNAlgo_t;

#define HANDLE(name) typedef struct name##_standin *name;
HANDLE(cudnnHandle_t)
HANDLE(cudnnTensorDescriptor_t)
HANDLE(cudnnFilterDescriptor_t)
HANDLE(cudnnConvolutionDescriptor_t)
HANDLE(cudnnPoolingDescriptor_t)
HANDLE(cudnnReduceTensorDescriptor_t)
HANDLE(cudnnSpatialTransformerDescriptor_t)
HANDLE(cudnnDropoutDescriptor_t)
HANDLE(cudnnRNNDescriptor_t)

#define PERFORMANCE(name, Algo) \
  typedef struct { Algo algo; cudnnStatus_t status; float time; size_t memory; cudnnDeterminism_t determinism; \
                   cudnnMathType_t mathType; int reserved[3]; } name;
PERFORMANCE(cudnnConvolutionFwdAlgoPerf_t, cudnnConvolutionFwdAlgo_t)
PERFORMANCE(cudnnConvolutionBwdFilterAlgoPerf_t, cudnnConvolutionBwdFilterAlgo_t)
PERFORMANCE(cudnnConvolutionBwdDataAlgoPerf_t, cudnnConvolutionBwdDataAlgo_t)

#ifndef BODY
#define BODY ;
#endif
#define FUNCTION(name, ...) cudnnStatus_t name(__VA_ARGS__) BODY

#ifdef __cplusplus
extern "C" {
#endif

size_t cudnnGetVersion(void);
const char *cudnnGetErrorString(cudnnStatus_t);
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t, cudnnMathType_t);
#define CANDIDATES(name, A, B, C, D, Perf) cudnnStatus_t name(cudnnHandle_t, A, B, C, D, const int, int *, Perf *);
CANDIDATES(cudnnGetConvolutionForwardAlgorithm_v7, const cudnnTensorDescriptor_t, const cudnnFilterDescriptor_t,
           const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t, cudnnConvolutionFwdAlgoPerf_t)
CANDIDATES(cudnnGetConvolutionBackwardFilterAlgorithm_v7, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t,
           const cudnnConvolutionDescriptor_t, const cudnnFilterDescriptor_t, cudnnConvolutionBwdFilterAlgoPerf_t)
CANDIDATES(cudnnGetConvolutionBackwardDataAlgorithm_v7, const cudnnFilterDescriptor_t, const cudnnTensorDescriptor_t,
           const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t, cudnnConvolutionBwdDataAlgoPerf_t)

#define OBJECT(name, Type) FUNCTION(cudnnCreate##name, Type *) FUNCTION(cudnnDestroy##name, Type)
OBJECT(, cudnnHandle_t)
OBJECT(TensorDescriptor, cudnnTensorDescriptor_t)
OBJECT(FilterDescriptor, cudnnFilterDescriptor_t)
OBJECT(ConvolutionDescriptor, cudnnConvolutionDescriptor_t)
OBJECT(PoolingDescriptor, cudnnPoolingDescriptor_t)
OBJECT(ReduceTensorDescriptor, cudnnReduceTensorDescriptor_t)
OBJECT(SpatialTransformerDescriptor, cudnnSpatialTransformerDescriptor_t)
OBJECT(DropoutDescriptor, cudnnDropoutDescriptor_t)
OBJECT(RNNDescriptor, cudnnRNNDescriptor_t)

/* In the argument lists below: */
#define H cudnnHandle_t
#define X const cudnnTensorDescriptor_t
#define W const cudnnFilterDescriptor_t
#define CONV const cudnnConvolutionDescriptor_t
#define IN const void *
#define OUT void *
#define INTS const int[]

FUNCTION(cudnnSetTensorNdDescriptor, cudnnTensorDescriptor_t, cudnnDataType_t, int, INTS, INTS)
FUNCTION(cudnnGetTensorNdDescriptor, X, int, cudnnDataType_t *, int *, int[], int[])
FUNCTION(cudnnSetFilterNdDescriptor, cudnnFilterDescriptor_t, cudnnDataType_t, cudnnTensorFormat_t, int, INTS)
FUNCTION(cudnnGetFilterNdDescriptor, W, int, cudnnDataType_t *, cudnnTensorFormat_t *, int *, int[])
FUNCTION(cudnnSetConvolutionNdDescriptor, cudnnConvolutionDescriptor_t, int, INTS, INTS, INTS, cudnnConvolutionMode_t,
         cudnnDataType_t)
FUNCTION(cudnnGetConvolutionNdDescriptor, CONV, int, int *, int[], int[], int[], cudnnConvolutionMode_t *,
         cudnnDataType_t *)
FUNCTION(cudnnSetConvolutionGroupCount, cudnnConvolutionDescriptor_t, int)
FUNCTION(cudnnGetConvolutionGroupCount, cudnnConvolutionDescriptor_t, int *)
FUNCTION(cudnnGetConvolutionNdForwardOutputDim, CONV, X, W, int, int[])

FUNCTION(cudnnConvolutionForward, H, IN, X, IN, W, IN, CONV, cudnnConvolutionFwdAlgo_t, OUT, size_t, IN, X, OUT)
FUNCTION(cudnnGetConvolutionForwardWorkspaceSize, H, X, W, CONV, X, cudnnConvolutionFwdAlgo_t, size_t *)
FUNCTION(cudnnFindConvolutionForwardAlgorithmEx, H, X, IN, W, IN, CONV, X, OUT, const int, int *,
         cudnnConvolutionFwdAlgoPerf_t *, OUT, size_t)
FUNCTION(cudnnConvolutionBackwardFilter, H, IN, X, IN, X, IN, CONV, cudnnConvolutionBwdFilterAlgo_t, OUT, size_t, IN, W,
         OUT)
FUNCTION(cudnnGetConvolutionBackwardFilterWorkspaceSize, H, X, X, CONV, W, cudnnConvolutionBwdFilterAlgo_t, size_t *)
FUNCTION(cudnnFindConvolutionBackwardFilterAlgorithmEx, H, X, IN, X, IN, CONV, W, OUT, const int, int *,
         cudnnConvolutionBwdFilterAlgoPerf_t *, OUT, size_t)
FUNCTION(cudnnConvolutionBackwardData, H, IN, W, IN, X, IN, CONV, cudnnConvolutionBwdDataAlgo_t, OUT, size_t, IN, X, OUT)
FUNCTION(cudnnGetConvolutionBackwardDataWorkspaceSize, H, W, X, CONV, X, cudnnConvolutionBwdDataAlgo_t, size_t *)
FUNCTION(cudnnFindConvolutionBackwardDataAlgorithmEx, H, W, IN, X, IN, CONV, X, OUT, const int, int *,
         cudnnConvolutionBwdDataAlgoPerf_t *, OUT, size_t)

FUNCTION(cudnnSetPoolingNdDescriptor, cudnnPoolingDescriptor_t, const cudnnPoolingMode_t, const cudnnNanPropagation_t,
         int, INTS, INTS, INTS)
FUNCTION(cudnnPoolingForward, H, const cudnnPoolingDescriptor_t, IN, X, IN, IN, X, OUT)
FUNCTION(cudnnPoolingBackward, H, const cudnnPoolingDescriptor_t, IN, X, IN, X, IN, X, IN, IN, X, OUT)
FUNCTION(cudnnSoftmaxForward, H, cudnnSoftmaxAlgorithm_t, cudnnSoftmaxMode_t, IN, X, IN, IN, X, OUT)
FUNCTION(cudnnSoftmaxBackward, H, cudnnSoftmaxAlgorithm_t, cudnnSoftmaxMode_t, IN, X, IN, X, IN, IN, X, OUT)
FUNCTION(cudnnBatchNormalizationForwardTraining, H, cudnnBatchNormMode_t, IN, IN, X, IN, X, OUT, X, IN, IN, double, OUT,
         OUT, double, OUT, OUT)
FUNCTION(cudnnBatchNormalizationForwardInference, H, cudnnBatchNormMode_t, IN, IN, X, IN, X, OUT, X, IN, IN, IN, IN,
         double)
FUNCTION(cudnnBatchNormalizationBackward, H, cudnnBatchNormMode_t, IN, IN, IN, IN, X, IN, X, IN, X, OUT, X, IN, OUT, OUT,
         double, IN, IN)
FUNCTION(cudnnSetReduceTensorDescriptor, cudnnReduceTensorDescriptor_t, cudnnReduceTensorOp_t, cudnnDataType_t,
         cudnnNanPropagation_t, cudnnReduceTensorIndices_t, cudnnIndicesType_t)
FUNCTION(cudnnGetReductionWorkspaceSize, H, const cudnnReduceTensorDescriptor_t, X, X, size_t *)
FUNCTION(cudnnReduceTensor, H, const cudnnReduceTensorDescriptor_t, OUT, size_t, OUT, size_t, IN, X, IN, IN, X, OUT)
FUNCTION(cudnnSetSpatialTransformerNdDescriptor, cudnnSpatialTransformerDescriptor_t, cudnnSamplerType_t,
         cudnnDataType_t, const int, INTS)
FUNCTION(cudnnSpatialTfGridGeneratorForward, H, const cudnnSpatialTransformerDescriptor_t, IN, OUT)
FUNCTION(cudnnSpatialTfGridGeneratorBackward, H, const cudnnSpatialTransformerDescriptor_t, IN, OUT)
FUNCTION(cudnnSpatialTfSamplerForward, H, cudnnSpatialTransformerDescriptor_t, IN, X, IN, IN, IN, X, OUT)
FUNCTION(cudnnSpatialTfSamplerBackward, H, cudnnSpatialTransformerDescriptor_t, IN, X, IN, IN, X, OUT, IN, X, IN, IN, IN,
         OUT)

#undef H
#undef X
#undef W
#undef CONV
#undef IN
#undef OUT
#undef INTS

#ifdef __cplusplus
}
#endif
#endif
