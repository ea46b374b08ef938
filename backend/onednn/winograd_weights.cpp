// The gradient to the weights of 3x3 convolutions of stride 1 by Winograd's method F(3x3, 4x4): the 3x3 weights are
// the outputs of a correlation of the 6x6 pixels of a tile with the 4x4 gradients of its outputs, summed over tiles.
//
//     dW = A' [ sum over tiles of (G dY G') * (B' d B) ] A
//
// For each of the 36 positions the sum is a product of matrices (input channels, tiles) (tiles, output channels).
#include "winograd.h"
#include <algorithm>
#include <memory>
#include <vector>

#define SIDE 3
#define GROUP_BYTES (2 << 20) // of the transforms of a group of tiles

// G v: from 4 values to 6
static inline __attribute__((always_inline)) void gradient_transform(const vec v[TILE], vec r[SPAN]) {
    vec a = (-2.0f / 3) * (v[0] + 0.5f * v[2]), b = (-2.0f / 3 * A) * (v[1] + 0.5f * v[3]);
    vec c = (1.0f / 6) * (v[0] + 2.0f * v[2]), d = (1.0f / 6 * B) * (v[1] + 2.0f * v[3]);
    r[0] = v[0];
    r[1] = a + b;
    r[2] = a - b;
    r[3] = c + d;
    r[4] = c - d;
    r[5] = v[3];
}

// A' v: from 6 values to 3
static inline __attribute__((always_inline)) void weight_transform(const vec v[SPAN], vec r[SIDE]) {
    vec a = v[1] + v[2], b = A * (v[1] - v[2]), c = v[3] + v[4], d = B * (v[3] - v[4]);
    r[0] = v[0] + a + c;
    r[1] = b + d;
    r[2] = 0.5f * a + 2.0f * c + v[5];
}

// c (R, PANEL) += a' b for a (k, R or more) and b (k, PANEL or more)
template <int R>
static inline __attribute__((always_inline)) void accumulate(const float *a, i64 a_stride, const float *b, i64 b_stride,
                                                             i64 k, float *c) {
    vec sum[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) sum[r][0] = load(c + r * PANEL), sum[r][1] = load(c + r * PANEL + BLOCK);
    for (i64 t = 0; t < k; t++) {
        vec b0 = load(b + t * b_stride), b1 = load(b + t * b_stride + BLOCK);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            vec v = splat(a[t * a_stride + r]);
            sum[r][0] += v * b0;
            sum[r][1] += v * b1;
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) store(c + r * PANEL, sum[r][0]), store(c + r * PANEL + BLOCK, sum[r][1]);
}

namespace {

// What adds to the sums of one position, c (panels, ic, PANEL), the products of a group of tiles, a (k, ic) and
// b (k, oc_padded); a group has a multiple of STEP.
struct Vectors {
    enum { STEP = 1 };
    Vectors(i64, i64, i64) {}
    void operator()(const float *a, i64 ic, const float *b, i64 oc_padded, i64 k, float *c) const {
        for (i64 o = 0; o < oc_padded; o += PANEL, c += ic * PANEL) {
            i64 i = 0;
            for (; i + ROWS <= ic; i += ROWS) accumulate<ROWS>(a + i, ic, b + o, oc_padded, k, c + i * PANEL);
            for (; i < ic; i += 2) accumulate<2>(a + i, ic, b + o, oc_padded, k, c + i * PANEL);
        }
    }
};

#ifdef __AMX_BF16__
// The same by the matrix unit, of ic in multiples of its 32. It sums along rows of a and pairs of rows of b: pairs of
// tiles are brought together, those of a by channel.
struct Matrices {
    enum { STEP = 32 };
    Scratch<uint32_t> rows, columns;
    Matrices(i64 ic, i64 oc_padded, i64 k) : rows(ic * k / 2), columns(k / 2 * oc_padded) {}
    // Channels [i, i + BLOCK) of tiles t and t + 1, or zeros beyond the last.
    static pairs both(const bf16 *v, i64 stride, i64 t, i64 k, i64 i) {
        pairs first = {}, second = {};
        if (t < k) first = __builtin_convertvector(*(const loose_half_vec *)(v + t * stride + i), pairs);
        if (t + 1 < k) second = __builtin_convertvector(*(const loose_half_vec *)(v + (t + 1) * stride + i), pairs);
        return first | second << 16;
    }
    void operator()(const bf16 *a, i64 ic, const bf16 *b, i64 oc_padded, i64 k, float *c) const {
        const i64 padded = (k + STEP - 1) / STEP * STEP, a_row = padded * sizeof(bf16);
        const i64 b_row = oc_padded * sizeof(uint32_t), c_row = PANEL * sizeof(float);
        for (i64 t = 0; t < padded; t += 2) {
            for (i64 i = 0; i < ic; i += BLOCK) {
                pairs v = both(a, ic, t, k, i);
                for (int l = 0; l < BLOCK; l++) rows[(i + l) * (padded / 2) + t / 2] = v[l];
            }
            for (i64 o = 0; o < oc_padded; o += BLOCK)
                *(loose_pairs *)(columns + t / 2 * oc_padded + o) = both(b, oc_padded, t, k, o);
        }
        const MatrixUnit unit;
        for (i64 o = 0; o < oc_padded; o += PANEL)
            for (i64 i = 0; i < ic; i += 32, c += 32 * PANEL) {
                unit.load_sums(c, c_row);
                unit.add_products(rows + i * (padded / 2), a_row, columns + o, b_row, padded);
                unit.store_sums(c, c_row);
            }
    }
};
#endif

} // namespace

// E: the type of the factors, float or bf16; M: what sums up their products
template <class E, class M>
static void sum_up(const float *x, const Frame &f, const float *dy, i64 oc, bool flip, float *dw) {
    i64 ic = blocks(f.c) * BLOCK, oc_blocks = blocks(oc), panels = (oc + PANEL - 1) / PANEL, oc_padded = panels * PANEL;
    i64 oh = f.height() + 2 * f.pad_h - 2, ow = f.width() + 2 * f.pad_w - 2;
    i64 tiles_h = (oh + TILE - 1) / TILE, tiles_w = (ow + TILE - 1) / TILE, tiles = f.n * tiles_h * tiles_w;
    std::vector<int> rows(tiles_h * TILE + 2), columns(tiles_w * TILE + 2);
    source_coordinates(f.h, f.scale, f.mirror, f.pad_h, rows.size(), rows.data());
    source_coordinates(f.w, f.scale, f.mirror, f.pad_w, columns.size(), columns.data());

    // Each thread sums up groups of its own: of few tiles, whose transforms stay near its core, yet of so many that the
    // passes over the sums are few. The same threads make the same sums.
    i64 threads = omp_get_max_threads();
    i64 group = GROUP_BYTES / (POINTS * (ic + oc_padded) * (i64)sizeof(E));
    group = std::max<i64>(16, std::min(group, (tiles + threads - 1) / threads));
    group = (group + M::STEP - 1) / M::STEP * M::STEP;
    i64 x_stride = group * ic + 64 / sizeof(E), y_stride = group * oc_padded + 64 / sizeof(E),
        sum_stride = panels * ic * PANEL;
    Scratch<E> all_xs(threads * POINTS * x_stride), all_ys(threads * POINTS * y_stride);
    Scratch<float> sums(threads * POINTS * sum_stride);
    std::vector<std::unique_ptr<M>> adders;
    for (i64 i = 0; i < threads; i++) adders.emplace_back(new M(ic, oc_padded, group));

#pragma omp parallel
    {
        i64 me = omp_get_thread_num();
#pragma omp single
        threads = omp_get_num_threads();
        E *xs = all_xs + me * POINTS * x_stride, *ys = all_ys + me * POINTS * y_stride;
        float *sum = sums + me * POINTS * sum_stride;
        const M &add_products = *adders[me];
        memset(sum, 0, POINTS * sum_stride * sizeof(float));
#pragma omp for schedule(static)
        for (i64 g = 0; g < (tiles + group - 1) / group; g++) {
            i64 first = g * group, count = std::min(group, tiles - first);
            for (i64 t = 0; t < count; t++) {
                i64 n = (first + t) / (tiles_h * tiles_w), th = (first + t) / tiles_w % tiles_h,
                    tw = (first + t) % tiles_w;
                transform_tile(x, f, n, rows.data() + th * TILE, columns.data() + tw * TILE, xs + t * ic, x_stride);
                i64 height = std::min<i64>(TILE, oh - th * TILE), width = std::min<i64>(TILE, ow - tw * TILE);
                for (i64 ob = 0; ob < panels * 2; ob++) {
                    const float *source = dy + (((n * oc_blocks + ob) * oh + th * TILE) * ow + tw * TILE) * BLOCK;
                    vec half[SPAN][TILE];
                    for (int j = 0; j < TILE; j++) {
                        vec d[TILE] = {}, r[SPAN];
                        if (j < width && ob < oc_blocks)
                            for (int i = 0; i < height; i++) d[i] = load(source + (i * ow + j) * BLOCK);
                        gradient_transform(d, r);
                        for (int i = 0; i < SPAN; i++) half[i][j] = r[i];
                    }
                    E *target = ys + t * oc_padded + ob * BLOCK;
                    for (int i = 0; i < SPAN; i++) {
                        vec r[SPAN];
                        gradient_transform(half[i], r);
                        for (int j = 0; j < SPAN; j++) store(target + (i * SPAN + j) * y_stride, r[j]);
                    }
                }
            }
            for (int p = 0; p < POINTS; p++)
                add_products(xs + p * x_stride, ic, ys + p * y_stride, oc_padded, count, sum + p * sum_stride);
        }
    }

#pragma omp parallel for collapse(2) schedule(static)
    for (i64 ob = 0; ob < oc_blocks; ob++)
        for (i64 i = 0; i < f.c; i++) {
            const float *source = sums + ((ob / 2) * ic + i) * PANEL + ob % 2 * BLOCK;
            vec half[SIDE][SPAN];
            for (int b = 0; b < SPAN; b++) {
                vec d[SPAN], r[SIDE];
                for (int a = 0; a < SPAN; a++) {
                    d[a] = (vec){};
                    for (i64 k = 0; k < threads; k++) d[a] += load(source + (k * POINTS + a * SPAN + b) * sum_stride);
                }
                weight_transform(d, r);
                for (int a = 0; a < SIDE; a++) half[a][b] = r[a];
            }
            for (int a = 0; a < SIDE; a++) {
                vec r[SIDE];
                weight_transform(half[a], r);
                for (int b = 0; b < SIDE; b++) {
                    int t = a * SIDE + b;
                    for (int l = 0; l < BLOCK && ob * BLOCK + l < oc; l++)
                        dw[((ob * BLOCK + l) * f.c + i) * 9 + (flip ? 8 - t : t)] = r[b][l];
                }
            }
        }
}

void winograd_weights(const float *x, const Frame &f, const float *dy, i64 oc, bool flip, bool low, float *dw) {
    auto *method = sum_up<float, Vectors>;
#ifdef __AMX_BF16__
    if (low && blocks(f.c) % 2 == 0 && MatrixUnit::lent()) method = sum_up<bf16, Matrices>;
#endif
    method(x, f, dy, oc, flip, dw);
}
