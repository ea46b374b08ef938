// Direct convolutions: for filters and strides that Winograd's method does not cover and for which oneDNN has only its
// reference code without AVX-512 (the gradient to the input of a strided convolution, large filters with a wide
// border), and for three input or output channels, where blocks of channels would be mostly empty.
//
// Threads share the output by bands of rows. The part of the frame under a band is gathered into a buffer of the
// thread's own, through tables of source coordinates, so that enlarging, mirroring and padding take no pass over
// memory.
#include "common.h"
#include <algorithm>
#include <vector>

#ifdef __AVX512F__
#define PIXELS 12 // output pixels at once: PIXELS x 2 accumulators fill the registers
#else
#define PIXELS 6
#endif
#define PANEL (2 * BLOCK) // output channels at once

// sum over taps and input channels of pixels (R of them) times weights (PANEL of them)
template <int R>
static inline __attribute__((always_inline)) void dot(const float *x, i64 pixel, i64 plane, i64 ic, i64 taps,
                                                      const i64 *offsets, const float *w, vec sum[][2]) {
    vec total[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) total[r][0] = total[r][1] = (vec){};
    for (i64 c = 0; c < ic; c += BLOCK) {
        i64 lanes = std::min<i64>(BLOCK, ic - c);
        for (i64 t = 0; t < taps; t++) {
            const float *source = x + offsets[t];
            for (i64 l = 0; l < lanes; l++) {
                vec w0 = load(w), w1 = load(w + BLOCK);
                w += PANEL;
#pragma GCC unroll 16
                for (int r = 0; r < R; r++) {
                    vec v = splat(source[r * pixel + l]);
                    total[r][0] += v * w0;
                    total[r][1] += v * w1;
                }
            }
        }
        x += plane;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) sum[r][0] = total[r][0], sum[r][1] = total[r][1];
}

// Not inline, for the pixels that are left over at the end of a row.
template <int R>
static void dots(const float *x, i64 pixel, i64 plane, i64 ic, i64 taps, const i64 *offsets, const float *w,
                 vec sum[][2]) {
    dot<R>(x, pixel, plane, ic, taps, offsets, w, sum);
}

// As dot, for vectors of 4 x BLOCK neighbouring pixels and R output channels; x holds one plane for each channel.
template <int R>
static inline __attribute__((always_inline)) void dot_narrow(const float *x, i64 plane, i64 ic, i64 taps,
                                                             const i64 *offsets, const float *w, vec sum[][4]) {
    vec total[R][4];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) total[r][j] = (vec){};
    for (i64 c = 0; c < ic; c++) {
        for (i64 t = 0; t < taps; t++) {
            const float *source = x + offsets[t];
            vec scale[R];
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) scale[r] = splat(w[r]);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                vec v = load(source + j * BLOCK);
#ifdef __x86_64__
                asm("" : "+v"(v)); // load once: GCC would read it from memory, across cache lines, for every r
#endif
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) total[r][j] += scale[r] * v;
            }
            w += R;
        }
        x += plane;
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) sum[r][j] = total[r][j];
}

// The rows [first, first + count) of a frame with its zeros, one image: (blocks, count, width, BLOCK).
static void gather(const float *x, const Frame &f, i64 n, const int *rows, const int *columns, i64 count, i64 width,
                   float *buffer) {
    i64 cb = blocks(f.c);
    for (i64 b = 0; b < cb; b++)
        for (i64 i = 0; i < count; i++) {
            const float *source = x + ((n * cb + b) * f.h + std::max(rows[i], 0)) * f.w * BLOCK;
            float *target = buffer + (b * count + i) * width * BLOCK;
            for (i64 j = 0; j < width; j++)
                store(target + j * BLOCK,
                      rows[i] < 0 || columns[j] < 0 ? (vec){} : load(source + (i64)columns[j] * BLOCK));
        }
}

// The same as (channels, count, width), for the narrow kernel.
static void gather_planes(const float *x, const Frame &f, i64 n, const int *rows, const int *columns, i64 count,
                          i64 width, float *buffer) {
    for (i64 c = 0; c < f.c; c++)
        for (i64 i = 0; i < count; i++) {
            const float *source =
                x + ((n * blocks(f.c) + c / BLOCK) * f.h + std::max(rows[i], 0)) * f.w * BLOCK + c % BLOCK;
            float *target = buffer + (c * count + i) * width;
            for (i64 j = 0; j < width; j++)
                target[j] = rows[i] < 0 || columns[j] < 0 ? 0.0f : source[(i64)columns[j] * BLOCK];
        }
}

template <int R>
static void narrow_row(const float *x, i64 plane, i64 ic, i64 taps, const i64 *offsets, const float *w,
                       const Epilogue &epilogue, i64 width, float *y, i64 at, i64 pixel) {
    for (i64 j = 0; j < width; j += 4 * BLOCK) {
        vec sum[R][4];
        dot_narrow<R>(x + j, plane, ic, taps, offsets, w, sum);
        for (i64 p = 0; p < 4 * BLOCK && j + p < width; p++) {
            vec v = {};
            for (int r = 0; r < R; r++) v[r] = sum[r][p / BLOCK][p % BLOCK] + (epilogue.bias ? epilogue.bias[r] : 0.0f);
            i64 target = at + (j + p) * pixel;
            store(y + target, finished(v, epilogue, target));
        }
    }
}

void direct(const float *x, const Frame &f, const std::vector<Tap> &taps, i64 stride_h, i64 stride_w, i64 oc,
            const Epilogue &epilogue, float *y, const Grid &grid) {
    i64 count = taps.size(), oc_blocks = blocks(oc), panels = (oc + PANEL - 1) / PANEL;
    i64 cb = blocks(f.c);
    i64 reach_h = 0, reach_w = 0;
    for (const Tap &tap : taps) reach_h = std::max(reach_h, tap.row), reach_w = std::max(reach_w, tap.column);
    bool narrow = oc <= 4 && stride_w == 1; // pixels, not output channels, fill the vectors
    bool past = grid.pixel == 1 && passes_by(y, f.n * oc_blocks * grid.plane * BLOCK);
    i64 width = (grid.width - 1) * stride_w + reach_w + 1;
    if (narrow) width += 4 * BLOCK; // the last vectors read beyond the frame
    std::vector<int> rows((grid.height - 1) * stride_h + reach_h + 1), columns(width);
    source_coordinates(f.h, f.scale, f.mirror, f.pad_h, rows.size(), rows.data());
    source_coordinates(f.w, f.scale, f.mirror, f.pad_w, columns.size(), columns.data());

    // The weights in the order of their use.
    Scratch<float> w(panels * PANEL * f.c * count);
    if (narrow) {
        float *target = w;
        for (i64 c = 0; c < f.c; c++)
            for (i64 t = 0; t < count; t++)
                for (i64 o = 0; o < oc; o++) *target++ = taps[t].weights[o * taps[t].oc_stride + c * taps[t].ic_stride];
    } else {
#pragma omp parallel for schedule(static)
        for (i64 p = 0; p < panels; p++)
            for (i64 c = 0; c < f.c; c++) {
                i64 first = c / BLOCK * BLOCK, lanes = std::min<i64>(BLOCK, f.c - first);
                for (i64 t = 0; t < count; t++) {
                    float *target = w + (p * f.c * count + first * count + t * lanes + c - first) * PANEL;
                    const float *source = taps[t].weights + c * taps[t].ic_stride;
                    for (i64 o = 0; o < PANEL; o++)
                        target[o] = p * PANEL + o < oc ? source[(p * PANEL + o) * taps[t].oc_stride] : 0.0f;
                }
            }
    }

    i64 threads = omp_get_max_threads();
    i64 row_bytes = width * cb * BLOCK * 4;
    i64 band = std::max<i64>(4, ((3 << 20) / row_bytes - reach_h) / stride_h);
    band = std::min(band, (f.n * grid.height + threads - 1) / threads);
    band = std::max<i64>(1, std::min(band, grid.height));
    i64 bands = (grid.height + band - 1) / band;
    band = (grid.height + bands - 1) / bands;
    i64 buffer_rows = (band - 1) * stride_h + reach_h + 1;
    i64 buffer_size = buffer_rows * width * cb * BLOCK;
    Scratch<float> buffers(threads * buffer_size);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (i64 n = 0; n < f.n; n++)
        for (i64 g = 0; g < bands; g++) {
            float *buffer = buffers + omp_get_thread_num() * buffer_size;
            i64 first = g * band, height = std::min(band, grid.height - first);
            if (height <= 0) continue;
            i64 gathered = (height - 1) * stride_h + reach_h + 1, plane = gathered * width * (narrow ? 1 : BLOCK);
            const int *gathered_rows = rows.data() + first * stride_h;
            if (narrow)
                gather_planes(x, f, n, gathered_rows, columns.data(), gathered, width, buffer);
            else
                gather(x, f, n, gathered_rows, columns.data(), gathered, width, buffer);
            i64 offsets[count];
            for (i64 t = 0; t < count; t++) offsets[t] = (taps[t].row * width + taps[t].column) * (narrow ? 1 : BLOCK);
            for (i64 i = 0; i < height; i++) {
                float *out = y + (n * oc_blocks * grid.plane + (first + i) * grid.row + grid.offset) * BLOCK;
                if (narrow) {
                    auto run = oc == 1   ? narrow_row<1>
                               : oc == 2 ? narrow_row<2>
                               : oc == 3 ? narrow_row<3>
                                         : narrow_row<4>;
                    run(buffer + i * width, plane, f.c, count, offsets, w, epilogue, grid.width, y, out - y,
                        grid.pixel * BLOCK);
                    continue;
                }
                for (i64 p = 0; p < panels; p++) {
                    vec bias[2] = {};
                    if (epilogue.bias)
                        for (int l = 0; l < PANEL && p * PANEL + l < oc; l++)
                            bias[l / BLOCK][l % BLOCK] = epilogue.bias[p * PANEL + l];
                    const float *source = buffer + i * stride_h * width * BLOCK, *weights = w + p * PANEL * f.c * count;
                    for (i64 j = 0; j < grid.width; j += PIXELS) {
                        vec sum[PIXELS][2];
                        i64 pixels = std::min<i64>(PIXELS, grid.width - j), step = stride_w * BLOCK;
                        if (pixels == PIXELS)
                            dot<PIXELS>(source + j * step, step, plane, f.c, count, offsets, weights, sum);
                        else
                            for (i64 r = 0; r < pixels;) {
                                i64 rest = pixels - r, some = rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
                                auto run = some == 4 ? dots<4> : some == 2 ? dots<2> : dots<1>;
                                run(source + (j + r) * step, step, plane, f.c, count, offsets, weights, sum + r);
                                r += some;
                            }
                        for (int half = 0; half < 2 && 2 * p + half < oc_blocks; half++) {
                            float *target = out + ((2 * p + half) * grid.plane + j * grid.pixel) * BLOCK;
                            for (i64 r = 0; r < pixels; r++) {
                                float *pixel = target + r * grid.pixel * BLOCK;
                                vec v = finished(sum[r][half] + bias[half], epilogue, pixel - y);
                                past ? store_past(pixel, v) : store(pixel, v);
                            }
                        }
                    }
                }
            }
            fence();
        }
}
