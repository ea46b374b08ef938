// Convolutions: forward, gradient to the input, gradient to the weights. 3x3 filters of stride 1 go to winograd.cpp and
// winograd_weights.cpp; the others, forward and to the input, to direct.cpp; those of three channels, to the weights,
// to direct_weights.cpp; the rest to primitives.cpp, which is oneDNN's, or, where there is no oneDNN, to portable.cpp.
#include "exports.h"
#include <algorithm>
#include <memory>
#include <vector>

// As laid out by ops/convolutions.py
struct Shape {
    i64 n, c, h, w, scale, mirror; // the source image and how it is enlarged
    i64 oc, kh, kw, sh, sw, pad_h, pad_w;
    i64 flip; // rotate the filters by 180 degrees: a true convolution
    i64 low;  // multiply in bfloat16 in Winograd's method
    Frame frame() const { return {n, c, h, w, scale, mirror, pad_h, pad_w}; }
    i64 oh() const { return (frame().height() + 2 * pad_h - kh) / sh + 1; }
    i64 ow() const { return (frame().width() + 2 * pad_w - kw) / sw + 1; }
};

static void check(const Shape &s) {
    if (s.n < 1 || s.c < 1 || s.h < 1 || s.w < 1 || s.oc < 1 || s.kh < 1 || s.kw < 1)
        throw std::invalid_argument("convolution of an empty tensor");
    if (s.mirror && (s.mirror >= s.h * s.scale || s.mirror >= s.w * s.scale))
        throw std::invalid_argument("mirror padding must be smaller than the image");
    if (s.frame().height() + 2 * s.pad_h < s.kh || s.frame().width() + 2 * s.pad_w < s.kw)
        throw std::invalid_argument("the filters are larger than the padded image");
}

static const float *tap_weights(const float *w, const Shape &s, i64 row, i64 column) {
    return w + (s.flip ? (s.kh - 1 - row) * s.kw + s.kw - 1 - column : row * s.kw + column);
}

// w is (oc, c, kh, kw), or, transposed, (c, oc, kh, kw).
static void convolve(const Shape &s, const float *x, const float *w, bool transpose, const Epilogue &epilogue,
                     float *y) {
    if (winograd_suits(s.c, s.oc, s.kh, s.kw, s.sh, s.sw)) {
        winograd(x, s.frame(), w, s.oc, s.flip, transpose, s.low, epilogue, y);
        return;
    }
    i64 k = s.kh * s.kw;
    std::vector<Tap> taps;
    for (i64 i = 0; i < s.kh; i++)
        for (i64 j = 0; j < s.kw; j++)
            taps.push_back({i, j, tap_weights(w, s, i, j), transpose ? k : s.c * k, transpose ? s.oc * k : k});
    direct(x, s.frame(), taps, s.sh, s.sw, s.oc, epilogue, y, {s.oh(), s.ow(), s.oh() * s.ow(), s.ow(), 1, 0});
}

// The gradient to the frame, (n, c, frame height, frame width), not to the image behind it.
static void input_gradient(const Shape &s, const float *w, const float *dy, const float *gate, float *dx) {
    i64 height = s.frame().height(), width = s.frame().width(), k = s.kh * s.kw;
    if (s.sh == 1 && s.sw == 1 && s.pad_h < s.kh && s.pad_w < s.kw) {
        // The convolution of dy with the filters turned about, over a border that lets every tap reach.
        Shape back = {
            s.n,     s.oc, s.oh(), s.ow(), 1, 0, s.c, s.kh, s.kw, 1, 1, s.kh - 1 - s.pad_h, s.kw - 1 - s.pad_w,
            !s.flip, s.low};
        convolve(back, dy, w, true, {nullptr, 0, nullptr, gate}, dx);
        return;
    }
    // The frame's rows at one offset modulo the stride get their gradient through the same taps: each such set of
    // pixels is a convolution of stride 1. Row sh i + a takes dy's row o through the tap sh (i - o) + a + pad.
    for (i64 a = 0; a < s.sh; a++)
        for (i64 b = 0; b < s.sw; b++) {
            i64 rows = (height - a + s.sh - 1) / s.sh, columns = (width - b + s.sw - 1) / s.sw;
            if (rows <= 0 || columns <= 0) continue;
            i64 tap_h = (a + s.pad_h) % s.sh, shift_h = (a + s.pad_h) / s.sh;
            i64 tap_w = (b + s.pad_w) % s.sw, shift_w = (b + s.pad_w) / s.sw;
            i64 border_h = (s.kh - 1) / s.sh, border_w = (s.kw - 1) / s.sw;
            Frame f = {s.n, s.oc, s.oh(), s.ow(), 1, 0, border_h, border_w};
            std::vector<Tap> taps;
            for (i64 i = tap_h; i < s.kh; i += s.sh)
                for (i64 j = tap_w; j < s.kw; j += s.sw)
                    taps.push_back({border_h + shift_h - i / s.sh, border_w + shift_w - j / s.sw,
                                    tap_weights(w, s, i, j), k, s.c * k});
            Grid grid = {rows, columns, height * width, width * s.sh, s.sw, a * width + b};
            direct(dy, f, taps, 1, 1, s.c, {nullptr, 0, nullptr, gate}, dx, grid);
        }
}

static void weight_gradient(const Shape &s, const float *x, const float *dy, float *dw) {
    if (winograd_suits(s.c, s.oc, s.kh, s.kw, s.sh, s.sw)) {
        winograd_weights(x, s.frame(), dy, s.oc, s.flip, s.low, dw);
        return;
    }
    if (narrow_suits(s.c, s.oc, s.sh, s.sw)) {
        narrow_weights(x, s.frame(), dy, s.oc, s.kh, s.kw, s.flip, dw);
        return;
    }
    i64 oc = blocks(s.oc) * BLOCK, ic = blocks(s.c) * BLOCK, k = s.kh * s.kw;
    Frame f = s.frame();
    std::unique_ptr<Scratch<float>> own_source;
    const float *source = x;
    if (!f.plain()) {
        own_source.reset(new Scratch<float>(s.n * ic * f.height() * f.width()));
        expand(x, f, own_source->data);
        source = own_source->data;
    }
    Scratch<float> padded(oc * ic * k);
    plain_weight_gradient(
        source, dy, {s.n, ic, f.height(), f.width(), oc, s.oh(), s.ow(), s.kh, s.kw, s.sh, s.sw, s.pad_h, s.pad_w},
        padded);
    for (i64 o = 0; o < s.oc; o++)
        for (i64 i = 0; i < s.c; i++)
            for (i64 t = 0; t < k; t++) dw[(o * s.c + i) * k + t] = padded[(o * ic + i) * k + (s.flip ? k - 1 - t : t)];
}

// y: blocked (n, oc, oh, ow)
int gogh_conv(const Shape *shape, const float *x, const float *w, const float *bias, i64 rectify, float *y) {
    GUARDED(check(*shape); convolve(*shape, x, w, false, {bias, (int)rectify, nullptr, nullptr}, y))
}

// dx: blocked, see input_gradient; with a gate (or null), a frame that is rectified, the gradient to what it was before
int gogh_conv_input_gradient(const Shape *shape, const float *w, const float *dy, const float *gate, float *dx) {
    GUARDED(check(*shape); input_gradient(*shape, w, dy, gate, dx))
}

// dw: (oc, c, kh, kw)
int gogh_conv_weight_gradient(const Shape *shape, const float *x, const float *dy, float *dw) {
    GUARDED(check(*shape); weight_gradient(*shape, x, dy, dw))
}
