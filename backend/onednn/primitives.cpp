// What is left to oneDNN: gradients to the weights of other convolutions than 3x3 of stride 1, and products of
// matrices. Its primitives are kept for the shapes used last.
#include "exports.h"
#include <dnnl.hpp>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

using dnnl::memory;
typedef memory::format_tag tag;
typedef memory::desc desc;

static dnnl::engine &engine() {
    static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
}

static const tag BLOCKED = BLOCK == 16 ? tag::nChw16c : tag::nChw8c;

struct Primitive {
    dnnl::primitive run;
    desc source, weights, target, scratchpad;
};

typedef std::vector<i64> Key;
typedef std::shared_ptr<Primitive> (*Maker)(const i64 *key);

// The primitives of the shapes used last. A key starts with its kind.
static std::shared_ptr<Primitive> cached(const Key &key, Maker make) {
    static std::mutex mutex;
    static std::list<Key> order;
    static std::map<Key, std::pair<std::shared_ptr<Primitive>, std::list<Key>::iterator>> primitives;
    const size_t capacity = 128;
    std::lock_guard<std::mutex> lock(mutex);
    auto found = primitives.find(key);
    if (found != primitives.end()) {
        order.splice(order.begin(), order, found->second.second);
        return found->second.first;
    }
    dnnl::set_primitive_cache_capacity(0); // this cache replaces oneDNN's own
    auto primitive = make(key.data());
    order.push_front(key);
    primitives[key] = {primitive, order.begin()};
    if (primitives.size() > capacity) {
        primitives.erase(order.back());
        order.pop_back();
    }
    return primitive;
}

template <class PD> static std::shared_ptr<Primitive> wrap(const PD &pd, desc source, desc weights, desc target) {
    return std::make_shared<Primitive>(Primitive{dnnl::primitive(pd), source, weights, target, pd.scratchpad_desc()});
}

// key: 0, and what plain_weight_gradient gets
static std::shared_ptr<Primitive> make_weight_gradient(const i64 *k) {
    i64 n = k[1], ic = k[2], h = k[3], w = k[4], oc = k[5], oh = k[6], ow = k[7], kh = k[8], kw = k[9];
    // The far side may lack the rows that a stride does not reach.
    memory::dims strides{k[10], k[11]}, near{k[12], k[13]};
    memory::dims far{(oh - 1) * k[10] + kh - h - k[12], (ow - 1) * k[11] + kw - w - k[13]};
    auto f32 = memory::data_type::f32;
    desc source({n, ic, h, w}, f32, BLOCKED), target({n, oc, oh, ow}, f32, BLOCKED);
    desc weights({oc, ic, kh, kw}, f32, tag::any);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    auto algorithm = dnnl::algorithm::convolution_direct;
    dnnl::convolution_forward::primitive_desc hint(engine(), dnnl::prop_kind::forward_training, algorithm, source,
                                                   weights, target, strides, near, far, attributes);
    dnnl::convolution_backward_weights::primitive_desc pd(engine(), algorithm, source, weights, target, strides, near,
                                                          far, hint, attributes);
    return wrap(pd, source, pd.diff_weights_desc(), target);
}

// key: 1, batch, m, k, n, strides of both factors
static std::shared_ptr<Primitive> make_product(const i64 *k) {
    auto f32 = memory::data_type::f32;
    desc a({k[1], k[2], k[3]}, f32, memory::dims{k[5], k[6], k[7]});
    desc b({k[1], k[3], k[4]}, f32, memory::dims{k[8], k[9], k[10]});
    desc c({k[1], k[2], k[4]}, f32, tag::abc);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::matmul::primitive_desc pd(engine(), a, b, c, attributes);
    return wrap(pd, a, b, c);
}

static memory at(const desc &d, const float *data) { return memory(d, engine(), (void *)data); }

static void execute(const Primitive &p, std::unordered_map<int, memory> arguments) {
    Scratch<char> scratch(p.scratchpad.get_size());
    arguments[DNNL_ARG_SCRATCHPAD] = memory(p.scratchpad, engine(), scratch.data);
    dnnl::stream stream(engine());
    p.run.execute(stream, arguments);
    stream.wait();
}

static void reorder(memory from, memory to) {
    dnnl::reorder::primitive_desc pd(engine(), from.get_desc(), engine(), to.get_desc());
    dnnl::stream stream(engine());
    dnnl::reorder(pd).execute(stream, from, to);
    stream.wait();
}

void plain_weight_gradient(const float *x, const float *dy, const PlainShape &s, float *dw) {
    Key key{0};
    key.insert(key.end(), s.begin(), s.end());
    auto p = cached(key, make_weight_gradient);
    i64 ic = s[1], oc = s[4], kh = s[7], kw = s[8];
    Scratch<float> own(p->weights.get_size() / sizeof(float));
    execute(*p, {{DNNL_ARG_SRC, at(p->source, x)},
                 {DNNL_ARG_DIFF_DST, at(p->target, dy)},
                 {DNNL_ARG_DIFF_WEIGHTS, at(p->weights, own)}});
    reorder(at(p->weights, own), at(desc({oc, ic, kh, kw}, memory::data_type::f32, tag::oihw), dw));
}

static void product(const float *a, const float *b, float *c, const i64 *sizes, const i64 *strides) {
    Key key{1};
    key.insert(key.end(), sizes, sizes + 4);
    key.insert(key.end(), strides, strides + 6);
    auto p = cached(key, make_product);
    execute(
        *p,
        {{DNNL_ARG_SRC, at(p->source, a)}, {DNNL_ARG_WEIGHTS, at(p->weights, b)}, {DNNL_ARG_DST, at(p->target, c)}});
}

// c = a b for a batch of matrices. sizes: batch, m, k, n; strides, in elements: batch, row and column of a, then of b.
int gogh_product(const float *a, const float *b, float *c, const i64 *sizes, const i64 *strides) {
    GUARDED(product(a, b, c, sizes, strides))
}
