// What primitives.cpp leaves to oneDNN, written out, for processors that there is no oneDNN for. Products of matrices
// are numpy's there.
#include "common.h"

// For every block of input and of output channels and every tap, a BLOCK x BLOCK matrix: the sum over pixels of the
// products of an input pixel's channels with an output gradient's. Rows are summed by themselves, which keeps rounding
// small in the sum over all pixels.
void plain_weight_gradient(const float *x, const float *dy, const PlainShape &s, float *dw) {
    i64 n = s[0], ic = s[1], h = s[2], w = s[3], oc = s[4], oh = s[5], ow = s[6], kh = s[7], kw = s[8];
    i64 sh = s[9], sw = s[10], pad_h = s[11], pad_w = s[12], ic_blocks = ic / BLOCK, oc_blocks = oc / BLOCK;
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (i64 ob = 0; ob < oc_blocks; ob++)
        for (i64 ib = 0; ib < ic_blocks; ib++)
            for (i64 tap = 0; tap < kh * kw; tap++) {
                i64 i = tap / kw, j = tap % kw;
                vec total[BLOCK] = {};
                // The outputs whose tap lies within the image
                i64 first = std::max<i64>(0, (pad_w - j + sw - 1) / sw), last = w - 1 + pad_w - j;
                last = last < 0 ? 0 : std::min(ow, last / sw + 1);
                for (i64 b = 0; b < n; b++)
                    for (i64 row = 0; row < oh; row++) {
                        i64 y = row * sh + i - pad_h;
                        if (y < 0 || y >= h) continue;
                        const float *source = x + (((b * ic_blocks + ib) * h + y) * w + j - pad_w) * BLOCK;
                        const float *gradient = dy + ((b * oc_blocks + ob) * oh + row) * ow * BLOCK;
                        vec sum[BLOCK] = {};
                        for (i64 column = first; column < last; column++) {
                            vec g = load(gradient + column * BLOCK);
#pragma GCC unroll 16
                            for (int l = 0; l < BLOCK; l++) sum[l] += splat(source[column * sw * BLOCK + l]) * g;
                        }
                        for (int l = 0; l < BLOCK; l++) total[l] += sum[l];
                    }
                for (int l = 0; l < BLOCK; l++)
                    for (int o = 0; o < BLOCK; o++)
                        dw[((ob * BLOCK + o) * ic + ib * BLOCK + l) * kh * kw + tap] = total[l][o];
            }
}
