// Instance normalization: y = gamma (x - mean) / sqrt(variance + epsilon) + beta, the moments over the pixels of each
// image and channel, optionally followed by a rectifier or sigmoid and by the addition of another tensor. Batch
// normalization: the same with moments over all images together, which those of each image are then replaced by.
#include "exports.h"
#include <cmath>

static const i64 PIECE = 1024; // pixels whose moments are taken at once: they stay in the first- or second-level cache

// Shares of epsilon and of the square of the mean: layers.ROUNDING.
static const double ROUNDING_EPSILON = 1.0 / (1 << 20), ROUNDING_MEAN = ROUNDING_EPSILON / (1 << 12);

enum { LINEAR = 0, RECTIFY = 1, SIGMOID = 2, TANH = 3 };

// exp(v), relative error about 2e-7: 2^k times a polynomial on [-ln 2 / 2, ln 2 / 2].
static inline vec exponential(vec v) {
    v = v > 87.0f ? splat(87.0f) : v;
    v = v < -87.0f ? splat(-87.0f) : v;
    vec scaled = v * 1.44269504088896341f;
    mask k = __builtin_convertvector(scaled + (scaled < 0.0f ? splat(-0.5f) : splat(0.5f)), mask);
    vec kf = __builtin_convertvector(k, vec);
    vec r = v - kf * 0.693359375f;
    r = r + kf * 2.12194440e-4f;
    vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    mask bits = (k + 127) << 23;
    return p * (vec)bits;
}

template <int ACTIVATION> static inline vec activate(vec v) {
    if (ACTIVATION == RECTIFY) return rectified(v);
    if (ACTIVATION == SIGMOID) return 1.0f / (1.0f + exponential(-v));
    if (ACTIVATION == TANH) return 2.0f / (1.0f + exponential(-2.0f * v)) - 1.0f;
    return v;
}

// mean and 1 / sqrt(variance + epsilon) of every plane, or of so many images `together`, into stats (2, planes, BLOCK);
// the latter is 0 where the variance is rounding (`layers.InstanceNorm`). Without `inverse` the variance itself.
static void moments(const float *x, float *stats, i64 planes, i64 hw, float epsilon, i64 together = 1,
                    bool inverse = true) {
    i64 groups = planes / together; // the planes of one are as far from each other as an image is large
    i64 pieces = (hw + PIECE - 1) / PIECE;
    Scratch<float> partial(planes * pieces * 2 * BLOCK);
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 s = 0; s < pieces; s++) {
            const float *source = x + (p * hw + s * PIECE) * BLOCK;
            i64 count = hw - s * PIECE < PIECE ? hw - s * PIECE : PIECE;
            vec s0 = {}, s1 = {}, s2 = {}, s3 = {};
            i64 i = 0;
            for (; i + 4 <= count; i += 4) {
                s0 += load(source + i * BLOCK);
                s1 += load(source + (i + 1) * BLOCK);
                s2 += load(source + (i + 2) * BLOCK);
                s3 += load(source + (i + 3) * BLOCK);
            }
            for (; i < count; i++) s0 += load(source + i * BLOCK);
            vec mean = ((s0 + s1) + (s2 + s3)) / (float)count;
            s0 = s1 = s2 = s3 = (vec){};
            for (i = 0; i + 4 <= count; i += 4) {
                vec a = load(source + i * BLOCK) - mean, b = load(source + (i + 1) * BLOCK) - mean;
                vec c = load(source + (i + 2) * BLOCK) - mean, d = load(source + (i + 3) * BLOCK) - mean;
                s0 += a * a;
                s1 += b * b;
                s2 += c * c;
                s3 += d * d;
            }
            for (; i < count; i++) {
                vec a = load(source + i * BLOCK) - mean;
                s0 += a * a;
            }
            store(partial + (p * pieces + s) * 2 * BLOCK, mean);
            store(partial + (p * pieces + s) * 2 * BLOCK + BLOCK, (s0 + s1) + (s2 + s3));
        }
    for (i64 g = 0; g < groups; g++)
        for (int l = 0; l < BLOCK; l++) {
            double mean = 0, squares = 0;
            for (i64 p = g; p < planes; p += groups)
                for (i64 s = 0; s < pieces; s++) {
                    i64 count = hw - s * PIECE < PIECE ? hw - s * PIECE : PIECE;
                    mean += (double)count * partial[(p * pieces + s) * 2 * BLOCK + l];
                }
            mean /= together * hw;
            for (i64 p = g; p < planes; p += groups)
                for (i64 s = 0; s < pieces; s++) {
                    i64 count = hw - s * PIECE < PIECE ? hw - s * PIECE : PIECE;
                    double away = partial[(p * pieces + s) * 2 * BLOCK + l] - mean;
                    squares += partial[(p * pieces + s) * 2 * BLOCK + BLOCK + l] + count * away * away;
                }
            double variance = squares / (together * hw);
            bool rounding = variance <= ROUNDING_EPSILON * epsilon + ROUNDING_MEAN * mean * mean;
            for (i64 p = g; p < planes; p += groups) {
                stats[p * BLOCK + l] = (float)mean;
                float deviation = rounding ? 0.0f : (float)(1.0 / std::sqrt(variance + epsilon));
                stats[(planes + p) * BLOCK + l] = inverse ? deviation : (float)variance;
            }
        }
}

static inline vec lanes_of(const float *values, i64 c, i64 b) {
    vec v = {};
    for (int l = 0; l < BLOCK && b * BLOCK + l < c; l++) v[l] = values[b * BLOCK + l];
    return v;
}

template <int ACTIVATION>
static void apply(const float *x, const float *gamma, const float *beta, i64 gamma_rows, i64 beta_rows,
                  const float *other, float *y, const float *stats, i64 n, i64 c, i64 hw) {
    i64 cb = blocks(c), planes = n * cb, pieces = (hw + PIECE - 1) / PIECE;
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 s = 0; s < pieces; s++) {
            i64 i = p / cb, b = p % cb;
            vec mean = load(stats + p * BLOCK), inverse = load(stats + (planes + p) * BLOCK);
            vec slope = lanes_of(gamma + (gamma_rows > 1 ? i * c : 0), c, b) * inverse;
            vec shift = lanes_of(beta + (beta_rows > 1 ? i * c : 0), c, b);
            vec valid = {};
            for (int l = 0; l < BLOCK; l++) valid[l] = b * BLOCK + l < c ? 1.0f : 0.0f;
            i64 start = (p * hw + s * PIECE) * BLOCK;
            i64 count = hw - s * PIECE < PIECE ? hw - s * PIECE : PIECE;
            for (i64 j = 0; j < count; j++) {
                i64 at = start + j * BLOCK;
                vec v = activate<ACTIVATION>((load(x + at) - mean) * slope + shift);
                if (ACTIVATION == SIGMOID) v *= valid;
                if (other) v += load(other + at);
                store(y + at, v);
            }
        }
}

// y may be x. stats: (2, n, channels of all blocks), written. With `batch` the moments are those of all images.
int gogh_norm(const float *x, const float *gamma, const float *beta, i64 gamma_rows, i64 beta_rows, const float *other,
              float *y, float *stats, i64 n, i64 c, i64 hw, double epsilon, i64 activation, i64 batch) {
    GUARDED({
        moments(x, stats, n * blocks(c), hw, (float)epsilon, batch ? n : 1);
        auto run = activation == RECTIFY   ? apply<RECTIFY>
                   : activation == SIGMOID ? apply<SIGMOID>
                   : activation == TANH    ? apply<TANH>
                                           : apply<LINEAR>;
        run(x, gamma, beta, gamma_rows, beta_rows, other, y, stats, n, c, hw);
    })
}

// As `apply`, with gamma and beta of each pixel: sums over the styles, whose rows are in gamma and beta (styles, c), of
// the weights (n, styles, hw). A style of the weight 1 gives what `apply` gives, bit for bit.
template <int ACTIVATION>
static void apply_mapped(const float *x, const float *gamma, const float *beta, const float *weights, i64 styles,
                         const float *other, float *y, const float *stats, i64 n, i64 c, i64 hw) {
    i64 cb = blocks(c), planes = n * cb, pieces = (hw + PIECE - 1) / PIECE;
    Scratch<float> rows(2 * cb * styles * BLOCK); // gamma and beta of a block of channels side by side
    for (i64 b = 0; b < cb; b++)
        for (i64 s = 0; s < styles; s++) {
            store(rows + ((b * styles + s) * 2) * BLOCK, lanes_of(gamma + s * c, c, b));
            store(rows + ((b * styles + s) * 2 + 1) * BLOCK, lanes_of(beta + s * c, c, b));
        }
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 s = 0; s < pieces; s++) {
            i64 i = p / cb, b = p % cb;
            vec mean = load(stats + p * BLOCK), inverse = load(stats + (planes + p) * BLOCK);
            vec valid = {};
            for (int l = 0; l < BLOCK; l++) valid[l] = b * BLOCK + l < c ? 1.0f : 0.0f;
            i64 start = p * hw + s * PIECE, count = hw - s * PIECE < PIECE ? hw - s * PIECE : PIECE;
            const float *row = rows + b * styles * 2 * BLOCK, *weight = weights + i * styles * hw + s * PIECE;
            for (i64 j = 0; j < count; j++) {
                i64 at = (start + j) * BLOCK;
                vec slope = {}, shift = {};
                for (i64 k = 0; k < styles; k++) {
                    vec w = splat(weight[k * hw + j]);
                    slope += w * load(row + 2 * k * BLOCK);
                    shift += w * load(row + (2 * k + 1) * BLOCK);
                }
                slope = slope * inverse;
                vec v = activate<ACTIVATION>((load(x + at) - mean) * slope + shift);
                if (ACTIVATION == SIGMOID) v *= valid;
                if (other) v += load(other + at);
                store(y + at, v);
            }
        }
}

// As `gogh_norm`, for weights of styles at each pixel.
extern "C" int gogh_mapped_norm(const float *x, const float *gamma, const float *beta, const float *weights,
                                i64 styles, const float *other, float *y, float *stats, i64 n, i64 c, i64 hw,
                                double epsilon, i64 activation) {
    GUARDED({
        moments(x, stats, n * blocks(c), hw, (float)epsilon);
        auto run = activation == RECTIFY   ? apply_mapped<RECTIFY>
                   : activation == SIGMOID ? apply_mapped<SIGMOID>
                   : activation == TANH    ? apply_mapped<TANH>
                                           : apply_mapped<LINEAR>;
        run(x, gamma, beta, weights, styles, other, y, stats, n, c, hw);
    })
}

// The gradients to x, gamma and beta. With `rectify`, dy is the gradient to the rectified output. dx may be dy.
template <bool RECTIFIED>
static void norm_gradient(const float *x, const float *gamma, const float *beta, i64 gamma_rows, i64 beta_rows,
                          const float *stats, const float *dy, float *dx, float *dgamma, float *dbeta, i64 n, i64 c,
                          i64 hw, i64 together) {
    i64 cb = blocks(c), planes = n * cb, pieces = (hw + PIECE - 1) / PIECE;
    Scratch<float> partial(planes * pieces * 2 * BLOCK);
    Scratch<float> totals(planes * 2 * BLOCK);
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 s = 0; s < pieces; s++) {
            i64 i = p / cb, b = p % cb;
            vec mean = load(stats + p * BLOCK), inverse = load(stats + (planes + p) * BLOCK);
            vec slope = lanes_of(gamma + (gamma_rows > 1 ? i * c : 0), c, b);
            vec shift = lanes_of(beta + (beta_rows > 1 ? i * c : 0), c, b);
            i64 start = (p * hw + s * PIECE) * BLOCK;
            i64 count = hw - s * PIECE < PIECE ? hw - s * PIECE : PIECE;
            vec sum = {}, product = {}, sum2 = {}, product2 = {};
            auto term = [&](i64 j, vec &sum, vec &product) {
                vec unit = (load(x + start + j * BLOCK) - mean) * inverse, g = load(dy + start + j * BLOCK);
                if (RECTIFIED) g = unit * slope + shift > 0.0f ? g : (vec){};
                sum += g;
                product += g * unit;
            };
            i64 j = 0;
            for (; j + 2 <= count; j += 2) {
                term(j, sum, product);
                term(j + 1, sum2, product2);
            }
            for (; j < count; j++) term(j, sum, product);
            store(partial + (p * pieces + s) * 2 * BLOCK, sum + sum2);
            store(partial + (p * pieces + s) * 2 * BLOCK + BLOCK, product + product2);
        }
    for (i64 p = 0; p < planes; p++)
        for (int l = 0; l < 2 * BLOCK; l++) {
            double total = 0;
            for (i64 s = 0; s < pieces; s++) total += partial[(p * pieces + s) * 2 * BLOCK + l];
            totals[p * 2 * BLOCK + l] = (float)total;
        }
    for (i64 i = 0; i < n; i++)
        for (i64 ch = 0; ch < c; ch++) {
            float *total = totals + (i * cb + ch / BLOCK) * 2 * BLOCK + ch % BLOCK;
            if (gamma_rows > 1 || i == 0) dgamma[(gamma_rows > 1 ? i * c : 0) + ch] = 0;
            if (beta_rows > 1 || i == 0) dbeta[(beta_rows > 1 ? i * c : 0) + ch] = 0;
            dbeta[(beta_rows > 1 ? i * c : 0) + ch] += total[0];
            dgamma[(gamma_rows > 1 ? i * c : 0) + ch] += total[BLOCK];
        }
    i64 groups = planes / together;
    for (i64 g = 0; together > 1 && g < groups; g++)
        for (int l = 0; l < 2 * BLOCK; l++) {
            double total = 0;
            for (i64 p = g; p < planes; p += groups) total += totals[p * 2 * BLOCK + l];
            for (i64 p = g; p < planes; p += groups) totals[p * 2 * BLOCK + l] = (float)total;
        }
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 s = 0; s < pieces; s++) {
            i64 i = p / cb, b = p % cb;
            vec mean = load(stats + p * BLOCK), inverse = load(stats + (planes + p) * BLOCK);
            vec slope = lanes_of(gamma + (gamma_rows > 1 ? i * c : 0), c, b);
            vec shift = lanes_of(beta + (beta_rows > 1 ? i * c : 0), c, b);
            vec sum = load(totals + p * 2 * BLOCK) / (float)(together * hw),
                product = load(totals + p * 2 * BLOCK + BLOCK) / (float)(together * hw);
            i64 start = (p * hw + s * PIECE) * BLOCK;
            i64 count = hw - s * PIECE < PIECE ? hw - s * PIECE : PIECE;
            for (i64 j = 0; j < count; j++) {
                i64 at = start + j * BLOCK;
                vec unit = (load(x + at) - mean) * inverse, g = load(dy + at);
                if (RECTIFIED) g = unit * slope + shift > 0.0f ? g : (vec){};
                store(dx + at, (g - sum - unit * product) * (slope * inverse));
            }
        }
}

int gogh_norm_gradient(const float *x, const float *gamma, const float *beta, i64 gamma_rows, i64 beta_rows,
                       const float *stats, const float *dy, float *dx, float *dgamma, float *dbeta, i64 n, i64 c,
                       i64 hw, i64 rectify, i64 batch) {
    GUARDED({
        auto run = rectify ? norm_gradient<true> : norm_gradient<false>;
        run(x, gamma, beta, gamma_rows, beta_rows, stats, dy, dx, dgamma, dbeta, n, c, hw, batch ? n : 1);
    })
}

// The mean and the variance of each channel over all images: result (2, c).
int gogh_batch_moments(const float *x, float *result, i64 n, i64 c, i64 hw) {
    GUARDED({
        i64 planes = n * blocks(c);
        Scratch<float> stats(2 * planes * BLOCK);
        moments(x, stats, planes, hw, 0.0f, n, false);
        for (i64 ch = 0; ch < c; ch++) {
            result[ch] = stats[ch];
            result[c + ch] = stats[planes * BLOCK + ch];
        }
    })
}
