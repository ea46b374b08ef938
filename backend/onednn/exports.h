// The functions that Python calls, and all of them. library.py reads their signatures here, and the compiler holds the
// definitions to them: what does not agree does not compile, or is refused when it is called.
//
// Arrays are of float32, sizes of int64; `i64 *` is an array of sizes, `float **` one of pointers. Functions that
// return int return 0, 1 (an error described by gogh_error) or 2 (out of memory), except for the two that answer a
// question.
#pragma once
#include "common.h"

struct Shape; // conv.cpp: an array of sizes

extern "C" {
// memory.cpp
const char *gogh_error();
void *gogh_take(i64 bytes);
void gogh_give(void *pointer);
void gogh_trim();
i64 gogh_mapped();
i64 gogh_in_use();
int gogh_block();
int gogh_has_bf16();

// blocked.cpp
int gogh_to_blocked(const float *x, float *y, i64 n, i64 c, i64 hw);
int gogh_from_blocked(const float *x, float *y, i64 n, i64 c, i64 hw);
int gogh_expand(const float *x, float *y, i64 n, i64 c, i64 h, i64 w, i64 scale, i64 mirror);
int gogh_expand_gradient(const float *dy, float *dx, i64 n, i64 c, i64 h, i64 w, i64 scale, i64 mirror);
int gogh_max_pool(const float *x, float *y, i64 planes, i64 h, i64 w, i64 kh, i64 kw);
int gogh_max_pool_gradient(const float *x, const float *y, const float *dy, float *dx, i64 planes, i64 h, i64 w, i64 kh,
                           i64 kw);
int gogh_average_pool(const float *x, float *y, i64 planes, i64 h, i64 w, i64 kh, i64 kw);
int gogh_average_pool_gradient(const float *dy, float *dx, i64 planes, i64 h, i64 w, i64 kh, i64 kw);
int gogh_add(const float *a, const float *b, float *y, i64 count);
int gogh_rectify(const float *x, float *y, i64 count);
int gogh_rectify_gradient(const float *y, const float *dy, float *dx, i64 count);

// conv.cpp
int gogh_conv(const Shape *shape, const float *x, const float *w, const float *bias, i64 rectify, float *y);
int gogh_conv_input_gradient(const Shape *shape, const float *w, const float *dy, const float *gate, float *dx);
int gogh_conv_weight_gradient(const Shape *shape, const float *x, const float *dy, float *dw);

// norm.cpp
int gogh_norm(const float *x, const float *gamma, const float *beta, i64 gamma_rows, i64 beta_rows, const float *other,
              float *y, float *stats, i64 n, i64 c, i64 hw, double epsilon, i64 activation, i64 batch);
int gogh_mapped_norm(const float *x, const float *gamma, const float *beta, const float *weights, i64 styles,
                     const float *other, float *y, float *stats, i64 n, i64 c, i64 hw, double epsilon, i64 activation);
int gogh_norm_gradient(const float *x, const float *gamma, const float *beta, i64 gamma_rows, i64 beta_rows,
                       const float *stats, const float *dy, float *dx, float *dgamma, float *dbeta, i64 n, i64 c,
                       i64 hw, i64 rectify, i64 batch);
int gogh_batch_moments(const float *x, float *result, i64 n, i64 c, i64 hw);

// losses.cpp
int gogh_gram(const float *x, float *y, i64 n, i64 c, i64 hw, double scale);
int gogh_gram_gradient(const float *x, const float *dy, const float *other, i64 rectify, float *dx, i64 n, i64 c, i64 h,
                       i64 w, double scale);
int gogh_squared_difference(const float *a, const float *b, float *y, i64 n, i64 size, double scale);
int gogh_squared_difference_gradient(const float *a, const float *b, const float *dy, float *da, i64 n, i64 size,
                                     double scale);

// primitives.cpp, only with oneDNN
int gogh_product(const float *a, const float *b, float *c, const i64 *sizes, const i64 *strides);

// adam.cpp
int gogh_adam(float **parameters, float **means, float **squares, const float **gradients, const i64 *sizes, i64 count,
              double rate, double beta1, double beta2, double epsilon);
}
