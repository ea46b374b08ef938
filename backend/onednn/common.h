// Shared by the sources of the native library: the vector type, memory, errors.
//
// A "blocked" tensor holds an (N, C, H, W) tensor as (N, ceil(C/BLOCK), H, W, BLOCK), oneDNN's nChw8c or nChw16c:
// the innermost axis is one vector register of BLOCK channels. Lanes beyond C (when BLOCK does not divide C) are
// zero in every blocked tensor that these functions read or write.
#pragma once
#include <cstddef>
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>
#include <omp.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
#define BLOCK 16
#else
#define BLOCK 8
#endif

typedef int64_t i64;
typedef float vec __attribute__((vector_size(BLOCK * 4)));
typedef float loose_vec __attribute__((vector_size(BLOCK * 4), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(BLOCK * 4)));

static inline vec load(const float *p) { return *(const loose_vec *)p; }
static inline void store(float *p, vec v) { *(loose_vec *)p = v; }
// Past the caches, where the processor can, for what they could not hold until it is read: aligned, and followed by
// fence().
static inline void store_past(float *p, vec v) {
#if defined __AVX512F__
    _mm512_stream_ps(p, (__m512)v);
#elif defined __AVX__
    _mm256_stream_ps(p, (__m256)v);
#else
    store(p, v);
#endif
}
static inline void fence() {
#ifdef __AVX__
    _mm_sfence();
#endif
}
static inline vec splat(float value) { return value - (vec){}; }
static inline vec rectified(vec v) { return v > 0.0f ? v : (vec){}; }

// bfloat16: the upper half of a float32, rounded to nearest even. Products of bfloat16 are taken of pairs of
// neighbouring channels, which share 32 bits, and summed in float32.
typedef uint16_t bf16;
typedef bf16 half_vec __attribute__((vector_size(BLOCK * 2)));
typedef half_vec loose_half_vec __attribute__((aligned(2), may_alias));
typedef uint32_t pairs __attribute__((vector_size(BLOCK * 4)));
typedef uint32_t loose_pairs __attribute__((vector_size(BLOCK * 4), aligned(2), may_alias));
typedef uint32_t loose_pair __attribute__((aligned(2), may_alias));

static inline pairs round_to_bf16(vec v) { // in the upper halves
    pairs bits = (pairs)v;
    return bits + 0x7fff + ((bits >> 16) & 1);
}
static inline void store(bf16 *p, vec v) {
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
    *(loose_half_vec *)p = __builtin_convertvector(round_to_bf16(v) >> 16, half_vec);
#endif
}
static inline void store_pairs(bf16 *p, vec first, vec second) {
    *(loose_pairs *)p = (round_to_bf16(first) >> 16) | (round_to_bf16(second) & 0xffff0000);
}
static inline pairs load_pairs(const bf16 *p) { return *(const loose_pairs *)p; }
static inline pairs splat_pair(const bf16 *p) { return *(const loose_pair *)p - (pairs){}; }
static inline vec add_products(vec sum, pairs a, pairs b) {
#ifdef __AVX512BF16__
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    sum += (vec)(a & 0xffff0000) * (vec)(b & 0xffff0000);
    return sum + (vec)(a << 16) * (vec)(b << 16);
#endif
}

static inline i64 blocks(i64 channels) { return (channels + BLOCK - 1) / BLOCK; }

// memory.cpp: a pool of buffers on huge pages, reused between calls.
void *take(size_t bytes); // throws std::bad_alloc
void give(void *pointer);

// A temporary array from the pool.
template <class T> struct Scratch {
    T *data;
    explicit Scratch(size_t count) : data((T *)take(count * sizeof(T) + 64)) {}
    ~Scratch() { give(data); }
    Scratch(const Scratch &) = delete;
    operator T *() const { return data; }
};

// Every exported function returns 0, 1 (an error described by gogh_error) or 2 (out of memory).
void set_error(const char *message);
#define GUARDED(...)                                                                                                   \
    try {                                                                                                              \
        __VA_ARGS__;                                                                                                   \
        return 0;                                                                                                      \
    } catch (const std::bad_alloc &) {                                                                                 \
        return 2;                                                                                                      \
    } catch (const std::exception &e) {                                                                                \
        set_error(e.what());                                                                                           \
        return 1;                                                                                                      \
    }

// The image that a convolution sees: `h` x `w` pixels, enlarged by nearest-neighbour `scale`, mirrored by `mirror`
// pixels on each side (without repeating the edge), then surrounded by zeros (`pad_h`, `pad_w`).
struct Frame {
    i64 n, c, h, w, scale, mirror, pad_h, pad_w;
    i64 height() const { return h * scale + 2 * mirror; } // without the zeros
    i64 width() const { return w * scale + 2 * mirror; }
    bool plain() const { return scale == 1 && mirror == 0; }
};

// The source coordinate of every coordinate of one axis of a frame; -1 where it is zero.
static inline void source_coordinates(i64 size, i64 scale, i64 mirror, i64 pad, i64 count, int *result) {
    i64 large = size * scale;
    for (i64 i = 0; i < count; i++) {
        i64 j = i - pad;
        if (j < 0 || j >= large + 2 * mirror) {
            result[i] = -1;
            continue;
        }
        j -= mirror;
        if (j < 0) j = -j;
        if (j >= large) j = 2 * (large - 1) - j;
        result[i] = (int)(j / scale);
    }
}

// blocked.cpp
void expand(const float *x, const Frame &f, float *y); // materialize a frame, without its zeros

// What follows a convolution before its result is stored. Absent pointers are null.
struct Epilogue {
    const float *bias; // oc values
    int rectify;
    const float *addend; // of the result's shape: is added
    const float *gate;   // of the result's shape: where it is not positive, the result is zero
};
// All of it but the bias, for the vector that goes to y + at.
static inline vec finished(vec v, const Epilogue &e, i64 at) {
    if (e.addend) v += load(e.addend + at);
    if (e.rectify) v = rectified(v);
    if (e.gate) v = load(e.gate + at) > 0.0f ? v : (vec){};
    return v;
}
// Results from here on pass by the caches.
#define LARGE_BYTES (16 << 20)
static inline bool passes_by(const float *y, i64 count) {
    return count * (i64)sizeof(float) >= LARGE_BYTES && (uintptr_t)y % sizeof(vec) == 0;
}

// winograd.cpp
bool winograd_suits(i64 ic, i64 oc, i64 kh, i64 kw, i64 sh, i64 sw);
// weights: (oc, ic, 3, 3) of the forward convolution; `flip` rotates them by 180 degrees; `transpose` exchanges oc
// and ic in reading them (the gradient to the input). `low` multiplies in bfloat16.
void winograd(const float *x, const Frame &f, const float *weights, i64 oc, bool flip, bool transpose, bool low,
              const Epilogue &epilogue, float *y);

// winograd_weights.cpp, for what winograd_suits: the gradient dw (oc, ic, 3, 3), rotated by 180 degrees if `flip`;
// `low` multiplies in bfloat16 where the processor has a matrix unit, and otherwise in float32
void winograd_weights(const float *x, const Frame &f, const float *dy, i64 oc, bool flip, bool low, float *dw);

// direct_weights.cpp, for what narrow_suits: the gradient dw (oc, ic, kh, kw), rotated by 180 degrees if `flip`
bool narrow_suits(i64 ic, i64 oc, i64 sh, i64 sw);
void narrow_weights(const float *x, const Frame &f, const float *dy, i64 oc, i64 kh, i64 kw, bool flip, float *dw);

// primitives.cpp, or portable.cpp: the gradient dw (oc, ic, kh, kw) for any filters, of a blocked x without a frame.
// s: n, ic, h, w, oc, oh, ow, kh, kw, stride_h, stride_w, pad_h, pad_w; channels are multiples of BLOCK.
typedef std::array<i64, 13> PlainShape;
void plain_weight_gradient(const float *x, const float *dy, const PlainShape &s, float *dw);

// direct.cpp
// One tap of a filter: where it reads the padded frame, relative to the output's position times the stride, and its
// weights, of (output, input) channels by the given strides.
struct Tap {
    i64 row, column;
    const float *weights;
    i64 oc_stride, ic_stride;
};
// Where the output goes, in units of vectors: size, then strides of a plane of BLOCK channels, a row and a pixel.
struct Grid {
    i64 height, width, plane, row, pixel, offset;
};
void direct(const float *x, const Frame &f, const std::vector<Tap> &taps, i64 stride_h, i64 stride_w, i64 oc,
            const Epilogue &epilogue, float *y, const Grid &grid);
