// What the convolution by Winograd's method and its gradient to the weights share.
#pragma once
#include "common.h"
#include <algorithm>
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define TILE 4
#define SPAN 6
#define POINTS 36
#ifdef __AVX512F__
#define ROWS 12 // tiles at once in the innermost loop: ROWS x 2 accumulators fill the registers
#else
#define ROWS 6
#endif
#define PANEL (2 * BLOCK) // output channels at once

// The transforms interpolate at 0, +-A, +-B and infinity with A = sqrt(1/2), B = sqrt(2), which round half as much as
// the customary 0, +-1, +-2.
static const float A = 0.70710678118654752f, B = 1.41421356237309505f;

// B' v: from 6 values to 6
static inline __attribute__((always_inline)) void input_transform(const vec v[SPAN], vec r[SPAN]) {
    vec a = v[4] - 2.0f * v[2], b = A * (v[3] - 2.0f * v[1]);
    vec c = v[4] - 0.5f * v[2], d = B * (v[3] - 0.5f * v[1]);
    r[0] = v[0] - 2.5f * v[2] + v[4];
    r[1] = a + b;
    r[2] = a - b;
    r[3] = c + d;
    r[4] = c - d;
    r[5] = v[1] - 2.5f * v[3] + v[5];
}

// The 6x6 pixels of a tile from the frame, transformed, for each block of channels: to target + block * BLOCK, the 36
// positions `stride` apart. row and column are the tables of `source_coordinates` at the tile's first pixel.
template <class E>
static inline void transform_tile(const float *x, const Frame &f, i64 n, const int *row, const int *column, E *target,
                                  i64 stride) {
    i64 ic_blocks = blocks(f.c);
    bool inside = true;
    for (int i = 0; i < SPAN; i++) inside = inside && row[i] >= 0 && column[i] >= 0;
    for (i64 cb = 0; cb < ic_blocks; cb++) {
        const float *plane = x + (n * ic_blocks + cb) * f.h * f.w * BLOCK;
        // The tile after this one is that of the next pixels of the same rows, as a rule: too many streams for the
        // processor to foresee.
        for (int i = 0; i < SPAN; i++) {
            const float *next = plane + ((i64)std::max(row[i], 0) * f.w + std::max(column[SPAN - 1], 0) + 1) * BLOCK;
            for (int j = 0; j < TILE * BLOCK; j += 16) __builtin_prefetch(next + j);
        }
        vec half[SPAN][SPAN];
        for (int j = 0; j < SPAN; j++) {
            vec d[SPAN], r[SPAN];
            if (inside)
#pragma GCC unroll 6
                for (int i = 0; i < SPAN; i++) d[i] = load(plane + ((i64)row[i] * f.w + column[j]) * BLOCK);
            else
                for (int i = 0; i < SPAN; i++)
                    d[i] =
                        row[i] < 0 || column[j] < 0 ? (vec){} : load(plane + ((i64)row[i] * f.w + column[j]) * BLOCK);
            input_transform(d, r);
            for (int i = 0; i < SPAN; i++) half[i][j] = r[i];
        }
        for (int i = 0; i < SPAN; i++) {
            vec r[SPAN];
            input_transform(half[i], r);
            for (int j = 0; j < SPAN; j++) store(target + cb * BLOCK + (i * SPAN + j) * stride, r[j]);
        }
    }
}

#ifdef __AMX_BF16__
// The processor's matrix unit (AMX), this thread's, for as long as the object lives: eight registers of 16 rows of 64
// bytes. It adds to 16 x 16 sums the products of 16 rows of 32 bfloat16 and of 32 rows of 16, the latter in pairs of
// rows.
struct MatrixUnit {
    MatrixUnit() {
        alignas(64) static const struct {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } setup;
        _tile_loadconfig(&setup);
        // GCC does not know what its loads of registers read: whatever was stored before has to be in memory.
        asm volatile("" ::: "memory");
    }
    ~MatrixUnit() {
        _tile_release();
        asm volatile("" ::: "memory");
    }
    MatrixUnit(const MatrixUnit &) = delete;
    // Sums of 32 x 32, in four registers, to and from rows that are c_row bytes apart.
    void load_sums(const float *c, i64 c_row) const {
        _tile_loadd(0, c, c_row);
        _tile_loadd(1, c + 16, c_row);
        _tile_loadd(2, (const char *)c + 16 * c_row, c_row);
        _tile_loadd(3, (const char *)c + 16 * c_row + 64, c_row);
    }
    void store_sums(float *c, i64 c_row) const {
        _tile_stored(0, c, c_row);
        _tile_stored(1, c + 16, c_row);
        _tile_stored(2, (char *)c + 16 * c_row, c_row);
        _tile_stored(3, (char *)c + 16 * c_row + 64, c_row);
    }
    // Adds the products of 32 rows of a and 32 columns of b, k of each, a multiple of 32; rows of a, and of pairs of
    // b's, are a_row and b_row bytes apart.
    void add_products(const void *a, i64 a_row, const void *b, i64 b_row, i64 k) const {
        const char *rows = (const char *)a, *columns = (const char *)b;
        for (i64 i = 0; i < k; i += 32, rows += 64, columns += 16 * b_row) {
            _tile_loadd(4, rows, a_row);
            _tile_loadd(5, rows + 16 * a_row, a_row);
            _tile_loadd(6, columns, b_row);
            _tile_loadd(7, columns + 64, b_row);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    // Linux lends a process the unit when it is asked: arch_prctl(ARCH_REQ_XCOMP_PERM, the state of the registers).
    static bool lent() {
        static const bool granted = !syscall(SYS_arch_prctl, 0x1023, 18);
        return granted;
    }
};
#endif
