// The gradient to the weights of convolutions of stride 1 with up to four input or output channels: the first and the
// last one of a transformer network. Blocks of channels would be mostly empty there, on the narrow side.
//
// Both are sums over pixels of the wide tensor, whose blocks of channels fill the vectors, times values of the narrow
// one that lie apart by the tap:
//
//     few input channels    dW[o, c, i, j] = sum over p of dy[o, p] x[c, p + (i, j)]
//     few output channels   dW[o, c, i, j] = sum over q of x[c, q] dy[o, q - (i, j)], with zeros around dy
//
// For each row of a band, three neighbouring taps of a row of the filter are summed with up to four blocks of channels
// in registers. Bands have a sum of their own each, whatever the number of threads, and are added in a fixed order.
#include "common.h"
#include <algorithm>
#include <vector>

#define BAND 16
#define PIXELS 64 // of four blocks: they stay in the first-level cache for all taps
#define TAPS 3

bool narrow_suits(i64 ic, i64 oc, i64 sh, i64 sw) { return std::min(ic, oc) <= 4 && sh == 1 && sw == 1; }

// sum (TAPS, R blocks) += the narrow pixels at taps 0, 1 ... T - 1 times the wide ones
template <int T, int R>
static inline __attribute__((always_inline)) void correlate(const float *narrow, const float *wide, i64 plane,
                                                            i64 count, float *sum) {
    vec total[T][R];
#pragma GCC unroll 4
    for (int t = 0; t < T; t++)
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) total[t][r] = load(sum + (t * R + r) * BLOCK);
    for (i64 p = 0; p < count; p++) {
        vec v[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) v[r] = load(wide + r * plane + p * BLOCK);
#pragma GCC unroll 4
        for (int t = 0; t < T; t++) {
            vec s = splat(narrow[p + t]);
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) total[t][r] += s * v[r];
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; t++)
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) store(sum + (t * R + r) * BLOCK, total[t][r]);
}

template <int R>
static void correlate(const float *narrow, const float *wide, i64 plane, i64 count, float *sum, i64 taps) {
    for (; taps >= TAPS; taps -= TAPS, narrow += TAPS, sum += TAPS * R * BLOCK)
        correlate<TAPS, R>(narrow, wide, plane, count, sum);
    for (; taps; taps--, narrow++, sum += R * BLOCK) correlate<1, R>(narrow, wide, plane, count, sum);
}

// One of the two tensors: an image, blocked, in its frame with zeros
struct Side {
    const float *data;
    Frame f;
    std::vector<int> rows, columns;
    Side(const float *data, const Frame &f)
        : data(data), f(f), rows(f.height() + 2 * f.pad_h), columns(f.width() + 2 * f.pad_w) {
        source_coordinates(f.h, f.scale, f.mirror, f.pad_h, rows.size(), rows.data());
        source_coordinates(f.w, f.scale, f.mirror, f.pad_w, columns.size(), columns.data());
    }
    const float *pixel(i64 n, i64 block, i64 row, i64 column) const {
        if (rows[row] < 0 || columns[column] < 0) return nullptr;
        return data + (((n * blocks(f.c) + block) * f.h + rows[row]) * f.w + columns[column]) * BLOCK;
    }
};

// sums: (bands of all images, blocks of wide channels / R, narrow channels, kh, kw, R, BLOCK), then what is left of R
static void correlate(const Side &wide, const Side &narrow, i64 kh, i64 kw, float *sums, i64 bands) {
    i64 height = wide.rows.size(), width = wide.columns.size(), narrow_width = narrow.columns.size();
    i64 nc = narrow.f.c, wb = blocks(wide.f.c), size = wb * nc * kh * kw * BLOCK;
    memset(sums, 0, bands * wide.f.n * size * sizeof(float));
#pragma omp parallel
    {
        Scratch<float> strip((BAND + kh - 1) * nc * narrow_width), row(4 * width * BLOCK);
#pragma omp for collapse(2) schedule(dynamic)
        for (i64 n = 0; n < wide.f.n; n++)
            for (i64 g = 0; g < bands; g++) {
                i64 first = g * BAND, count = std::min<i64>(BAND, height - first);
                for (i64 i = 0; i < count + kh - 1; i++)
                    for (i64 j = 0; j < narrow_width; j++) {
                        const float *pixel = narrow.pixel(n, 0, first + i, j);
                        for (i64 c = 0; c < nc; c++) strip[(i * nc + c) * narrow_width + j] = pixel ? pixel[c] : 0.0f;
                    }
                for (i64 i = 0; i < count; i++)
                    for (i64 b = 0; b < wb; b += 4) {
                        i64 together = std::min<i64>(4, wb - b);
                        for (i64 r = 0; r < together; r++)
                            for (i64 j = 0; j < width; j++) {
                                const float *pixel = wide.pixel(n, b + r, first + i, j);
                                store(row + (r * width + j) * BLOCK, pixel ? load(pixel) : (vec){});
                            }
                        auto run = together == 4   ? correlate<4>
                                   : together == 3 ? correlate<3>
                                   : together == 2 ? correlate<2>
                                                   : correlate<1>;
                        float *sum = sums + (n * bands + g) * size + b * nc * kh * kw * BLOCK;
                        for (i64 j = 0; j < width; j += PIXELS)
                            for (i64 c = 0; c < nc; c++)
                                for (i64 k = 0; k < kh; k++)
                                    run(strip + ((i + k) * nc + c) * narrow_width + j, row + j * BLOCK, width * BLOCK,
                                        std::min<i64>(PIXELS, width - j), sum + (c * kh + k) * kw * together * BLOCK,
                                        kw);
                    }
            }
    }
}

void narrow_weights(const float *x, const Frame &f, const float *dy, i64 oc, i64 kh, i64 kw, bool flip, float *dw) {
    i64 oh = f.height() + 2 * f.pad_h - kh + 1, ow = f.width() + 2 * f.pad_w - kw + 1;
    bool few_inputs = f.c <= 4;
    Side image(x, f),
        gradient(dy, few_inputs ? Frame{f.n, oc, oh, ow, 1, 0, 0, 0} : Frame{f.n, oc, oh, ow, 1, 0, kh - 1, kw - 1});
    const Side &wide = few_inputs ? gradient : image, &narrow = few_inputs ? image : gradient;
    i64 nc = narrow.f.c, wb = blocks(wide.f.c), taps = kh * kw, size = wb * nc * taps * BLOCK;
    i64 bands = ((i64)wide.rows.size() + BAND - 1) / BAND;
    Scratch<float> sums(f.n * bands * size);
    correlate(wide, narrow, kh, kw, sums, bands);
    // With few output channels the taps run backwards.
    bool backwards = flip != !few_inputs;
#pragma omp parallel for schedule(static)
    for (i64 wc = 0; wc < wide.f.c; wc++) {
        i64 group = wc / BLOCK / 4 * 4, together = std::min<i64>(4, wb - group), r = wc / BLOCK - group;
        for (i64 c = 0; c < nc; c++)
            for (i64 t = 0; t < taps; t++) {
                double total = 0;
                i64 at = (group * nc * taps + (c * taps + t) * together + r) * BLOCK + wc % BLOCK;
                for (i64 k = 0; k < f.n * bands; k++) total += sums[k * size + at];
                i64 pair = few_inputs ? wc * f.c + c : c * f.c + wc;
                dw[pair * taps + (backwards ? taps - 1 - t : t)] = (float)total;
            }
    }
}
