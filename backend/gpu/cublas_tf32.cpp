/* Stands before the real cuBLAS under the name libcublas.so, which it pulls in, and lets every handle use TF32.

   libgpuarray makes its handle itself and offers no way to change its math mode. It looks its functions up in what
   dlopen("libcublas.so") gives, dependencies included: this function first, all others in the real library. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>

typedef struct cublasContext *cublasHandle_t;

enum { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_NOT_SUPPORTED = 15, CUBLAS_TF32_TENSOR_OP_MATH = 3 };

extern "C" __attribute__((visibility("default"))) int cublasCreate_v2(cublasHandle_t *handle) {
  int (*create)(cublasHandle_t *) = (int (*)(cublasHandle_t *))dlsym(RTLD_NEXT, "cublasCreate_v2");
  int (*set_math_mode)(cublasHandle_t, int) = (int (*)(cublasHandle_t, int))dlsym(RTLD_NEXT, "cublasSetMathMode");
  if (!create || !set_math_mode)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  int status = create(handle);
  return status == CUBLAS_STATUS_SUCCESS ? set_math_mode(*handle, CUBLAS_TF32_TENSOR_OP_MATH) : status;
}
