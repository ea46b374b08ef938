// 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, arXiv:1509.09308): a tile
// of 6x6 pixels gives 4x4 outputs with 36 multiplications for each pair of channels instead of 144.
//
//     Y = A' [ (G g G') * (B' d B) ] A
//
// Tiles are taken in groups whose transforms stay in the second-level cache. For each of the 36 positions the group is
// a matrix (tiles, input channels), and the filters are a matrix (input channels, output channels).
// Enlarging and padding the image costs nothing: tiles are gathered through tables of source coordinates.
#include "winograd.h"
#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#define WIDE_BYTES (16 << 20) // of the transforms of filters

bool winograd_suits(i64 ic, i64 oc, i64 kh, i64 kw, i64 sh, i64 sw) {
    return kh == 3 && kw == 3 && sh == 1 && sw == 1 && ic >= 8 && oc >= 8;
}

// A' v: from 6 values to 4
static inline __attribute__((always_inline)) void output_transform(const vec v[SPAN], vec r[TILE]) {
    vec a = v[1] + v[2], b = A * (v[1] - v[2]), c = v[3] + v[4], d = B * (v[3] - v[4]);
    r[0] = v[0] + a + c;
    r[1] = b + d;
    r[2] = 0.5f * a + 2.0f * c;
    r[3] = 0.5f * b + 2.0f * d + v[5];
}

// G v: from 3 values to 6
static inline __attribute__((always_inline)) void filter_transform(const vec v[3], vec r[SPAN]) {
    vec a = (-2.0f / 3) * (v[0] + 0.5f * v[2]), b = (-2.0f / 3 * A) * v[1];
    vec c = (1.0f / 6) * (v[0] + 2.0f * v[2]), d = (1.0f / 6 * B) * v[1];
    r[0] = v[0];
    r[1] = a + b;
    r[2] = a - b;
    r[3] = c + d;
    r[4] = c - d;
    r[5] = v[2];
}

// The transform of output channels p * BLOCK ... of one input channel; zero beyond the last channels.
static inline void transform_filter(const float *w, i64 ic, i64 oc, i64 p, i64 i, bool flip, bool transpose,
                                    vec u[SPAN][SPAN]) {
    vec g[9] = {};
    if (i < ic)
        for (int l = 0; l < BLOCK; l++) {
            i64 o = p * BLOCK + l;
            if (o >= oc) break;
            const float *source = w + (transpose ? i * oc + o : o * ic + i) * 9;
            for (int t = 0; t < 9; t++) g[t][l] = source[flip ? 8 - t : t];
        }
    vec half[SPAN][3];
    for (int t = 0; t < 3; t++) {
        vec column[3] = {g[t], g[3 + t], g[6 + t]}, r[SPAN];
        filter_transform(column, r);
        for (int a = 0; a < SPAN; a++) half[a][t] = r[a];
    }
    for (int a = 0; a < SPAN; a++) filter_transform(half[a], u[a]);
}

// u: (36, output panels, input channels, PANEL); of bfloat16 (36, output panels, pairs of input channels, PANEL, 2)
template <class E>
static void transform_filters(const float *w, i64 ic, i64 oc, i64 ic_padded, i64 panels, bool flip, bool transpose,
                              E *u) {
    const bool paired = sizeof(E) == 2;
    i64 point_stride = panels * ic_padded * PANEL;
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < panels * 2; p++)
        for (i64 i = 0; i < ic_padded; i += 1 + paired) {
            vec r[SPAN][SPAN], next[SPAN][SPAN];
            transform_filter(w, ic, oc, p, i, flip, transpose, r);
            if (paired) transform_filter(w, ic, oc, p, i + 1, flip, transpose, next);
            E *target = u + ((p / 2) * ic_padded + i) * PANEL + (p % 2) * BLOCK * (1 + paired);
            for (int a = 0; a < SPAN; a++)
                for (int b = 0; b < SPAN; b++) {
                    E *point = target + (a * SPAN + b) * point_stride;
                    if (paired)
                        store_pairs((bf16 *)point, r[a][b], next[a][b]);
                    else
                        store((float *)point, r[a][b]);
                }
        }
}

// The transforms of small filters used last are kept for as long as the filters have the same values, as they do from
// photo to photo. Large ones take little of the time of their convolution and much memory.
#define KEPT_BYTES (4 << 20) // of one transform
#define KEPT 64

struct Kept {
    std::vector<float> weights;
    bool pooled; // large ones are of the pool, which takes them back after the call
    void *u;
    explicit Kept(size_t bytes) : pooled(bytes > KEPT_BYTES) {
        u = pooled ? take(bytes) : aligned_alloc(64, (bytes + 63) / 64 * 64);
        if (!u) throw std::bad_alloc();
    }
    ~Kept() { pooled ? give(u) : free(u); }
    Kept(const Kept &) = delete;
};

template <class E>
static std::shared_ptr<Kept> transformed(const float *w, i64 ic, i64 oc, i64 ic_padded, i64 panels, bool flip,
                                         bool transpose) {
    static std::mutex mutex;
    static std::map<std::tuple<const float *, i64, i64, bool, bool>, std::shared_ptr<Kept>> kept; // one for each E
    auto key = std::make_tuple(w, ic, oc, flip, transpose);
    size_t bytes = POINTS * panels * ic_padded * PANEL * sizeof(E), count = 9 * ic * oc;
    {
        std::lock_guard<std::mutex> lock(mutex);
        auto found = kept.find(key);
        if (found != kept.end() && !memcmp(found->second->weights.data(), w, count * sizeof(float)))
            return found->second;
    }
    auto result = std::make_shared<Kept>(bytes);
    transform_filters<E>(w, ic, oc, ic_padded, panels, flip, transpose, (E *)result->u);
    if (!result->pooled) {
        result->weights.assign(w, w + count);
        std::lock_guard<std::mutex> lock(mutex);
        if (kept.size() >= KEPT) kept.clear();
        kept[key] = result;
    }
    return result;
}

// c (R, PANEL) = a (R, k) b (k, PANEL)
template <int R>
static inline __attribute__((always_inline)) void multiply(const float *a, i64 a_stride, const float *b, i64 k,
                                                           float *c, i64 c_stride) {
    vec sum[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = (vec){};
    for (i64 i = 0; i < k; i++) {
        vec b0 = load(b + i * PANEL), b1 = load(b + i * PANEL + BLOCK);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            vec v = splat(a[r * a_stride + i]);
            sum[r][0] += v * b0;
            sum[r][1] += v * b1;
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        store(c + r * c_stride, sum[r][0]);
        store(c + r * c_stride + BLOCK, sum[r][1]);
    }
}

// The same of bfloat16, in pairs along k.
template <int R>
static inline __attribute__((always_inline)) void multiply(const bf16 *a, i64 a_stride, const bf16 *b, i64 k, float *c,
                                                           i64 c_stride) {
    vec sum[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = (vec){};
    for (i64 i = 0; i < k; i += 2) {
        pairs b0 = load_pairs(b + i * PANEL), b1 = load_pairs(b + i * PANEL + PANEL);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            pairs v = splat_pair(a + r * a_stride + i);
            sum[r][0] = add_products(sum[r][0], v, b0);
            sum[r][1] = add_products(sum[r][1], v, b1);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        store(c + r * c_stride, sum[r][0]);
        store(c + r * c_stride + BLOCK, sum[r][1]);
    }
}

namespace {

// What multiplies many rows, c (rows, PANEL) = a (rows, k) b (k, PANEL): STEP at once, where those beyond the last may
// be read and written; a group of tiles has at least LEAST, and MOST where the filters do not come from memory.
struct Vectors {
    enum { STEP = ROWS, LEAST = 2 * ROWS, MOST = 8 * ROWS };
    template <class E>
    void operator()(const E *a, i64 a_stride, const E *b, i64 k, i64 rows, float *c, i64 c_stride) const {
        i64 t = 0;
        for (; t + ROWS <= rows; t += ROWS)
            multiply<ROWS>(a + t * a_stride, a_stride, b, k, c + t * c_stride, c_stride);
        for (; t < rows; t++) multiply<1>(a + t * a_stride, a_stride, b, k, c + t * c_stride, c_stride);
    }
};

#ifdef __AMX_BF16__
// The same by the matrix unit, of k in multiples of its 32.
struct Matrices : MatrixUnit {
    enum { STEP = 32, LEAST = 32, MOST = 96 };
    void operator()(const bf16 *a, i64 a_stride, const bf16 *b, i64 k, i64 rows, float *c, i64 c_stride) const {
        for (i64 t = 0; t < rows; t += 32, a += 32 * a_stride, c += 32 * c_stride) {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            add_products(a, a_stride * sizeof(bf16), b, 2 * PANEL * sizeof(bf16), k);
            store_sums(c, c_stride * sizeof(float));
        }
    }
};
#endif

} // namespace

// E: the type of the factors, float or bf16; M: what multiplies matrices of them
template <class E, class M>
static void convolve(const float *x, const Frame &f, const float *weights, i64 oc, bool flip, bool transpose,
                     const Epilogue &epilogue, float *y) {
    i64 ic_blocks = blocks(f.c), oc_blocks = blocks(oc), ic = ic_blocks * BLOCK;
    i64 panels = (oc + PANEL - 1) / PANEL, oc_padded = panels * PANEL;
    i64 oh = f.height() + 2 * f.pad_h - 2, ow = f.width() + 2 * f.pad_w - 2;
    i64 tiles_h = (oh + TILE - 1) / TILE, tiles_w = (ow + TILE - 1) / TILE, tiles = f.n * tiles_h * tiles_w;
    std::vector<int> rows(tiles_h * TILE + 2), columns(tiles_w * TILE + 2);
    source_coordinates(f.h, f.scale, f.mirror, f.pad_h, rows.size(), rows.data());
    source_coordinates(f.w, f.scale, f.mirror, f.pad_w, columns.size(), columns.data());

    // A group: as many tiles as keep both transforms within the second-level cache, the same for every thread; more
    // where the filters' transforms exceed the third-level one, as they come from memory for each group.
    i64 threads = omp_get_max_threads(), u_stride = panels * ic * PANEL;
    bool wide = POINTS * u_stride * (i64)sizeof(E) > WIDE_BYTES;
    i64 group = (wide ? 8 << 20 : 800 << 10) / (POINTS * (ic * sizeof(E) + oc_padded * 4)) / M::STEP * M::STEP;
    group = std::max<i64>(M::LEAST, std::min<i64>(group, M::MOST * (1 + wide)));
    i64 rounds = (tiles + group * threads - 1) / (group * threads);
    group = (tiles + rounds * threads - 1) / (rounds * threads);
    group = (group + M::STEP - 1) / M::STEP * M::STEP;
    i64 groups = (tiles + group - 1) / group;
    // An odd number of cache lines between the positions, so that their columns do not share cache sets.
    i64 v_stride = group * ic + 64 / sizeof(E), m_stride = group * oc_padded + 16;

    Scratch<E> sources(threads * POINTS * v_stride);
    Scratch<float> products(threads * POINTS * m_stride);
    auto filters = transformed<E>(weights, f.c, oc, ic, panels, flip, transpose);
    const E *u = (const E *)filters->u;
    bool past = passes_by(y, f.n * oc_blocks * oh * ow * BLOCK);

#pragma omp parallel for schedule(dynamic)
    for (i64 g = 0; g < groups; g++) {
        E *v = sources + omp_get_thread_num() * POINTS * v_stride;
        float *m = products + omp_get_thread_num() * POINTS * m_stride;
        i64 first = g * group, count = tiles - first < group ? tiles - first : group;
        for (i64 t = 0; t < count; t++) {
            i64 n = (first + t) / (tiles_h * tiles_w), th = (first + t) / tiles_w % tiles_h, tw = (first + t) % tiles_w;
            transform_tile(x, f, n, rows.data() + th * TILE, columns.data() + tw * TILE, v + t * ic, v_stride);
        }
        {
            const M multiply_all;
            for (int p = 0; p < POINTS; p++)
                for (i64 o = 0; o < panels; o++)
                    multiply_all(v + p * v_stride, ic, u + p * u_stride + o * ic * PANEL, ic, count,
                                 m + p * m_stride + o * PANEL, oc_padded);
        }
        for (i64 t = 0; t < count; t++) {
            i64 n = (first + t) / (tiles_h * tiles_w), th = (first + t) / tiles_w % tiles_h, tw = (first + t) % tiles_w;
            i64 height = oh - th * TILE < TILE ? oh - th * TILE : TILE;
            i64 width = ow - tw * TILE < TILE ? ow - tw * TILE : TILE;
            for (i64 ob = 0; ob < oc_blocks; ob++) {
                const float *source = m + t * oc_padded + ob * BLOCK;
                vec half[TILE][SPAN];
                for (int j = 0; j < SPAN; j++) {
                    vec d[SPAN], r[TILE];
#pragma GCC unroll 6
                    for (int i = 0; i < SPAN; i++) d[i] = load(source + (i * SPAN + j) * m_stride);
                    output_transform(d, r);
                    for (int i = 0; i < TILE; i++) half[i][j] = r[i];
                }
                vec bias = {};
                if (epilogue.bias)
                    for (int l = 0; l < BLOCK && ob * BLOCK + l < oc; l++) bias[l] = epilogue.bias[ob * BLOCK + l];
                float *target = y + (((n * oc_blocks + ob) * oh + th * TILE) * ow + tw * TILE) * BLOCK;
                for (int i = 0; i < height; i++) {
                    vec r[TILE];
                    output_transform(half[i], r);
                    for (int j = 0; j < width; j++) {
                        float *pixel = target + (i * ow + j) * BLOCK;
                        vec v = finished(r[j] + bias, epilogue, pixel - y);
                        past ? store_past(pixel, v) : store(pixel, v);
                    }
                }
            }
        }
        fence();
    }
}

void winograd(const float *x, const Frame &f, const float *weights, i64 oc, bool flip, bool transpose, bool low,
              const Epilogue &epilogue, float *y) {
    auto *method = low ? convolve<bf16, Vectors> : convolve<float, Vectors>;
#ifdef __AMX_BF16__
    if (low && blocks(f.c) % 2 == 0 && MatrixUnit::lent()) method = convolve<bf16, Matrices>;
#endif
    method(x, f, weights, oc, flip, transpose, epilogue, y);
}
