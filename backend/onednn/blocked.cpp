// Operations that move blocked tensors or act on them pointwise: transfers, padding, upsampling, pooling, sums.
#include "exports.h"
#include <vector>

// (n, c, h, w) -> blocked
int gogh_to_blocked(const float *x, float *y, i64 n, i64 c, i64 hw) {
    i64 cb = blocks(c), piece = 2048, pieces = (hw + piece - 1) / piece;
#pragma omp parallel for collapse(3) schedule(static)
    for (i64 i = 0; i < n; i++)
        for (i64 b = 0; b < cb; b++)
            for (i64 s = 0; s < pieces; s++) {
                i64 lanes = c - b * BLOCK < BLOCK ? c - b * BLOCK : BLOCK;
                const float *source = x + (i * c + b * BLOCK) * hw;
                float *target = y + (i * cb + b) * hw * BLOCK;
                i64 end = (s + 1) * piece < hw ? (s + 1) * piece : hw;
                if (lanes == BLOCK) {
                    for (i64 p = s * piece; p < end; p++)
#pragma GCC unroll 16
                        for (int l = 0; l < BLOCK; l++) target[p * BLOCK + l] = source[l * hw + p];
                } else {
                    for (i64 p = s * piece; p < end; p++)
                        for (int l = 0; l < BLOCK; l++) target[p * BLOCK + l] = l < lanes ? source[l * hw + p] : 0.0f;
                }
            }
    return 0;
}

// blocked -> (n, c, h, w)
int gogh_from_blocked(const float *x, float *y, i64 n, i64 c, i64 hw) {
    i64 cb = blocks(c), piece = 1024, pieces = (hw + piece - 1) / piece;
#pragma omp parallel for collapse(3) schedule(static)
    for (i64 i = 0; i < n; i++)
        for (i64 b = 0; b < cb; b++)
            for (i64 s = 0; s < pieces; s++) {
                i64 lanes = c - b * BLOCK < BLOCK ? c - b * BLOCK : BLOCK;
                const float *source = x + (i * cb + b) * hw * BLOCK;
                float *target = y + (i * c + b * BLOCK) * hw;
                i64 end = (s + 1) * piece < hw ? (s + 1) * piece : hw;
                for (int l = 0; l < lanes; l++)
                    for (i64 p = s * piece; p < end; p++) target[l * hw + p] = source[p * BLOCK + l];
            }
    return 0;
}

void expand(const float *x, const Frame &f, float *y) {
    i64 planes = f.n * blocks(f.c), height = f.height(), width = f.width();
    std::vector<int> rows(height), columns(width);
    source_coordinates(f.h, f.scale, f.mirror, 0, height, rows.data());
    source_coordinates(f.w, f.scale, f.mirror, 0, width, columns.data());
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 i = 0; i < height; i++) {
            const float *source = x + (p * f.h + rows[i]) * f.w * BLOCK;
            float *target = y + (p * height + i) * width * BLOCK;
            for (i64 j = 0; j < width; j++) store(target + j * BLOCK, load(source + columns[j] * BLOCK));
        }
}

static Frame frame(i64 n, i64 c, i64 h, i64 w, i64 scale, i64 mirror) {
    if (mirror && (mirror >= h * scale || mirror >= w * scale))
        throw std::invalid_argument("mirror padding must be smaller than the image");
    return {n, c, h, w, scale, mirror, 0, 0};
}

// Nearest-neighbour upsampling by `scale`, then mirror padding.
int gogh_expand(const float *x, float *y, i64 n, i64 c, i64 h, i64 w, i64 scale, i64 mirror) {
    GUARDED(expand(x, frame(n, c, h, w, scale, mirror), y))
}

// The gradient of gogh_expand: every source pixel collects the gradients of its copies.
static void expand_gradient(const float *dy, const Frame &f, float *dx) {
    i64 planes = f.n * blocks(f.c), height = f.height(), width = f.width();
    std::vector<int> rows(height), columns(width);
    source_coordinates(f.h, f.scale, f.mirror, 0, height, rows.data());
    source_coordinates(f.w, f.scale, f.mirror, 0, width, columns.data());
    std::vector<std::vector<int>> copies(f.h);
    for (i64 i = 0; i < height; i++) copies[rows[i]].push_back(i);
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 i = 0; i < f.h; i++) {
            float *target = dx + (p * f.h + i) * f.w * BLOCK;
            memset(target, 0, f.w * BLOCK * sizeof(float));
            for (int copy : copies[i]) {
                const float *source = dy + (p * height + copy) * width * BLOCK;
                for (i64 j = 0; j < width; j++) {
                    float *t = target + columns[j] * BLOCK;
                    store(t, load(t) + load(source + j * BLOCK));
                }
            }
        }
}

int gogh_expand_gradient(const float *dy, float *dx, i64 n, i64 c, i64 h, i64 w, i64 scale, i64 mirror) {
    GUARDED(expand_gradient(dy, frame(n, c, h, w, scale, mirror), dx))
}

// Max pooling with windows of kh x kw that do not overlap; a remainder at the border is dropped.
int gogh_max_pool(const float *x, float *y, i64 planes, i64 h, i64 w, i64 kh, i64 kw) {
    i64 oh = h / kh, ow = w / kw;
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 i = 0; i < oh; i++)
            for (i64 j = 0; j < ow; j++) {
                const float *window = x + ((p * h + i * kh) * w + j * kw) * BLOCK;
                vec largest = load(window);
                for (i64 a = 0; a < kh; a++)
                    for (i64 b = 0; b < kw; b++) {
                        vec v = load(window + (a * w + b) * BLOCK);
                        largest = v > largest ? v : largest;
                    }
                store(y + ((p * oh + i) * ow + j) * BLOCK, largest);
            }
    return 0;
}

// Its gradient, to every position of a window that holds the maximum, as Theano defines it.
int gogh_max_pool_gradient(const float *x, const float *y, const float *dy, float *dx, i64 planes, i64 h, i64 w, i64 kh,
                           i64 kw) {
    i64 oh = h / kh, ow = w / kw;
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 i = 0; i < (h + kh - 1) / kh; i++) {
            i64 rows = h - i * kh < kh ? h - i * kh : kh;
            for (i64 a = 0; a < rows; a++) {
                i64 offset = (p * h + i * kh + a) * w;
                for (i64 j = 0; j < (w + kw - 1) / kw; j++) {
                    i64 columns = w - j * kw < kw ? w - j * kw : kw;
                    vec largest = {}, gradient = {};
                    if (i < oh && j < ow) {
                        largest = load(y + ((p * oh + i) * ow + j) * BLOCK);
                        gradient = load(dy + ((p * oh + i) * ow + j) * BLOCK);
                    }
                    for (i64 b = 0; b < columns; b++) {
                        i64 at = (offset + j * kw + b) * BLOCK;
                        store(dx + at, load(x + at) == largest ? gradient : (vec){});
                    }
                }
            }
        }
    return 0;
}

// Average pooling over the same windows.
int gogh_average_pool(const float *x, float *y, i64 planes, i64 h, i64 w, i64 kh, i64 kw) {
    i64 oh = h / kh, ow = w / kw;
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 i = 0; i < oh; i++)
            for (i64 j = 0; j < ow; j++) {
                const float *window = x + ((p * h + i * kh) * w + j * kw) * BLOCK;
                vec sum = {};
                for (i64 a = 0; a < kh; a++)
                    for (i64 b = 0; b < kw; b++) sum += load(window + (a * w + b) * BLOCK);
                store(y + ((p * oh + i) * ow + j) * BLOCK, sum / (float)(kh * kw));
            }
    return 0;
}

int gogh_average_pool_gradient(const float *dy, float *dx, i64 planes, i64 h, i64 w, i64 kh, i64 kw) {
    i64 oh = h / kh, ow = w / kw;
#pragma omp parallel for collapse(2) schedule(static)
    for (i64 p = 0; p < planes; p++)
        for (i64 i = 0; i < h; i++)
            for (i64 j = 0; j < w; j++) {
                bool inside = i / kh < oh && j / kw < ow;
                vec share = inside ? load(dy + ((p * oh + i / kh) * ow + j / kw) * BLOCK) / (float)(kh * kw) : (vec){};
                store(dx + ((p * h + i) * w + j) * BLOCK, share);
            }
    return 0;
}

// y = a + b, over `count` vectors; y may be a or b.
int gogh_add(const float *a, const float *b, float *y, i64 count) {
#pragma omp parallel for schedule(static)
    for (i64 i = 0; i < count; i++) store(y + i * BLOCK, load(a + i * BLOCK) + load(b + i * BLOCK));
    return 0;
}

int gogh_rectify(const float *x, float *y, i64 count) {
#pragma omp parallel for schedule(static)
    for (i64 i = 0; i < count; i++) store(y + i * BLOCK, rectified(load(x + i * BLOCK)));
    return 0;
}

// dx = dy where y > 0, else 0; y is the input or the output of the rectifier.
int gogh_rectify_gradient(const float *y, const float *dy, float *dx, i64 count) {
#pragma omp parallel for schedule(static)
    for (i64 i = 0; i < count; i++) store(dx + i * BLOCK, load(y + i * BLOCK) > 0.0f ? load(dy + i * BLOCK) : (vec){});
    return 0;
}
