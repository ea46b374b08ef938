// A step of Adam (arXiv:1412.6980) for all parameters at once, in place.
#include "exports.h"
#include <cmath>

// Arrays of `count` pointers and sizes; `rate` is the step with the correction of both moments' bias.
int gogh_adam(float **parameters, float **means, float **squares, const float **gradients, const i64 *sizes, i64 count,
              double rate, double beta1, double beta2, double epsilon) {
    float a = (float)rate, b1 = (float)beta1, b2 = (float)beta2, e = (float)epsilon;
    float c1 = (float)(1 - beta1), c2 = (float)(1 - beta2);
#pragma omp parallel
    for (i64 k = 0; k < count; k++) {
        float *p = parameters[k], *m = means[k], *v = squares[k];
        const float *g = gradients[k];
#pragma omp for schedule(static) nowait
        for (i64 j = 0; j < sizes[k]; j++) {
            m[j] = b1 * m[j] + c1 * g[j];
            v[j] = b2 * v[j] + c2 * (g[j] * g[j]);
            p[j] -= a * m[j] / (std::sqrt(v[j]) + e);
        }
    }
    return 0;
}
