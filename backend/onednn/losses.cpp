// What losses are made of: Gram matrices of blocked features and mean squared differences, with their gradients.
//
// A Gram matrix is a sum over pixels of outer products. Chunks of pixels are summed side by side, each into a matrix of
// its own, and the matrices added in a fixed order, so that results do not depend on the number of threads. Rows of
// half a block, from the diagonal on, are multiplied with up to three blocks of columns at once; the other triangle is
// a copy. The gradient is a 1x1 convolution with the symmetrized gradient to the matrix, which direct.cpp computes.
#include "exports.h"
#include <algorithm>

#define CHUNK_PIXELS 512
#define PIECE 128 // pixels of four blocks stay in the first-level cache
#define ROWS (BLOCK / 2)
#define COLUMNS 3 // ROWS x COLUMNS accumulators fill the registers

// c (ROWS, R blocks) += a' b over `count` pixels, for blocks of b that lie `plane` apart
template <int R>
static inline __attribute__((always_inline)) void outer(const float *a, const float *b, i64 plane, i64 count, float *c,
                                                        i64 c_stride) {
    vec sum[ROWS][R];
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int j = 0; j < R; j++) sum[r][j] = load(c + r * c_stride + j * BLOCK);
    for (i64 p = 0; p < count; p++) {
        vec v[R];
#pragma GCC unroll 4
        for (int j = 0; j < R; j++) v[j] = load(b + j * plane + p * BLOCK);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; r++) {
            vec s = splat(a[p * BLOCK + r]);
#pragma GCC unroll 4
            for (int j = 0; j < R; j++) sum[r][j] += s * v[j];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int j = 0; j < R; j++) store(c + r * c_stride + j * BLOCK, sum[r][j]);
}

static void gram(const float *x, float *y, i64 n, i64 c, i64 hw, double scale) {
    i64 cb = blocks(c), side = cb * BLOCK, chunks = (hw + CHUNK_PIXELS - 1) / CHUNK_PIXELS;
    Scratch<float> sums(n * chunks * side * side);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (i64 i = 0; i < n; i++)
        for (i64 k = 0; k < chunks; k++) {
            float *sum = sums + (i * chunks + k) * side * side;
            memset(sum, 0, side * side * sizeof(float));
            i64 end = std::min(hw, (k + 1) * CHUNK_PIXELS);
            for (i64 p = k * CHUNK_PIXELS; p < end; p += PIECE) {
                i64 count = std::min<i64>(PIECE, end - p);
                const float *pixels = x + (i * cb * hw + p) * BLOCK;
                for (i64 j = 0; j < cb; j += COLUMNS) {
                    i64 wide = std::min<i64>(COLUMNS, cb - j);
                    auto run = wide == 3 ? outer<3> : wide == 2 ? outer<2> : outer<1>;
                    for (i64 r = 0; r < (j + wide) * BLOCK; r += ROWS)
                        run(pixels + r / BLOCK * hw * BLOCK + r % BLOCK, pixels + j * hw * BLOCK, hw * BLOCK, count,
                            sum + r * side + j * BLOCK, side);
                }
            }
        }
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 i = 0; i < n; i++)
        for (i64 r = 0; r < c; r++)
            for (i64 s = r; s < c; s++) {
                double total = 0;
                for (i64 k = 0; k < chunks; k++) total += sums[((i * chunks + k) * side + r) * side + s];
                y[(i * c + r) * c + s] = y[(i * c + s) * c + r] = (float)(total * scale);
            }
}

// x: blocked (n, c, hw) -> y: (n, c, c), the products of feature maps times `scale`
int gogh_gram(const float *x, float *y, i64 n, i64 c, i64 hw, double scale) { GUARDED(gram(x, y, n, c, hw, scale)) }

static void gram_gradient(const float *x, const float *dy, const float *other, bool rectify, float *dx, i64 n, i64 c,
                          i64 h, i64 w, double scale) {
    Scratch<float> symmetric(c * c);
    for (i64 i = 0; i < n; i++) {
        const float *g = dy + i * c * c;
        for (i64 r = 0; r < c; r++)
            for (i64 s = 0; s <= r; s++)
                symmetric[r * c + s] = symmetric[s * c + r] = (float)(scale * (g[r * c + s] + g[s * c + r]));
        i64 image = i * blocks(c) * h * w * BLOCK;
        direct(x + image, {1, c, h, w, 1, 0, 0, 0}, {{0, 0, symmetric, c, 1}}, 1, 1, c,
               {nullptr, 0, other ? other + image : nullptr, rectify ? x + image : nullptr}, dx + image,
               {h, w, h * w, w, 1, 0});
    }
}

// dy: (n, c, c) -> dx: blocked (n, c, h, w), with another gradient added; with `rectify` it is the gradient to what x
// is the rectified values of.
int gogh_gram_gradient(const float *x, const float *dy, const float *other, i64 rectify, float *dx, i64 n, i64 c, i64 h,
                       i64 w, double scale){GUARDED(gram_gradient(x, dy, other, rectify, dx, n, c, h, w, scale))}

#define CHUNK_FLOATS 8192

// y[i] = the sum of squared differences of `size` floats times `scale`
static void squared_difference(const float *a, const float *b, float *y, i64 n, i64 size, double scale) {
    i64 chunks = (size + CHUNK_FLOATS - 1) / CHUNK_FLOATS;
    Scratch<float> sums(n * chunks);
#pragma omp parallel for schedule(static)
    for (i64 t = 0; t < n * chunks; t++) {
        i64 first = t % chunks * CHUNK_FLOATS, count = std::min<i64>(CHUNK_FLOATS, size - first), j = 0;
        const float *p = a + t / chunks * size + first, *q = b + t / chunks * size + first;
        vec sum[4] = {};
        for (; j + 4 * BLOCK <= count; j += 4 * BLOCK)
            for (int k = 0; k < 4; k++) {
                vec d = load(p + j + k * BLOCK) - load(q + j + k * BLOCK);
                sum[k] += d * d;
            }
        vec total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        float rest = 0;
        for (int l = 0; l < BLOCK; l++) rest += total[l];
        for (; j < count; j++) rest += (p[j] - q[j]) * (p[j] - q[j]);
        sums[t] = rest;
    }
    for (i64 i = 0; i < n; i++) {
        double total = 0;
        for (i64 k = 0; k < chunks; k++) total += sums[i * chunks + k];
        y[i] = (float)(total * scale);
    }
}

int gogh_squared_difference(const float *a, const float *b, float *y, i64 n, i64 size, double scale) {
    GUARDED(squared_difference(a, b, y, n, size, scale))
}

// The gradient to a; that to b is its negative.
int gogh_squared_difference_gradient(const float *a, const float *b, const float *dy, float *da, i64 n, i64 size,
                                     double scale) {
    i64 chunks = (size + CHUNK_FLOATS - 1) / CHUNK_FLOATS;
#pragma omp parallel for schedule(static)
    for (i64 t = 0; t < n * chunks; t++) {
        i64 first = t % chunks * CHUNK_FLOATS, end = std::min<i64>(first + CHUNK_FLOATS, size),
            image = t / chunks * size;
        float slope = (float)(2 * scale * dy[t / chunks]);
        for (i64 j = image + first; j < image + end; j++) da[j] = slope * (a[j] - b[j]);
    }
    return 0;
}
