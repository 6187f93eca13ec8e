// Rows of logits: the loss of each, and its gradient in its place; float32 and bfloat16. The specification is
// reference.py.
//
// A row is read while it lies in a core's cache, three times: for its greatest logit, for the sum of exponentials, and
// to become its gradient. Sums are taken in an order that follows from the width alone, so bits repeat for any number
// of threads.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../cpu_target.h"
#define INLINE_LAMBDA __attribute__((always_inline))

namespace {

#include "../attention/cpu_simd.h"

constexpr float LOG2_E = 1.4426950408889634f;
constexpr int64_t AT_ONCE = 4;  // vectors, whose sums do not wait for each other

struct Terms {
  float z_loss, label_smoothing;
};

INLINE Vec power(Vec logits, float normaliser) { return exp2<true>((logits - normaliser) * LOG2_E); }

// Calls `add(vector, k)` for the vectors of a row in turn, k going round 0 .. AT_ONCE - 1; what is beyond the row's end
// is `beyond`.
template <class T, class Add>
INLINE void each_vector(const T* row, int64_t width, float beyond, Add add) {
  int64_t c = 0;
  for (; c + AT_ONCE * W <= width; c += AT_ONCE * W)
    for (int64_t k = 0; k < AT_ONCE; k++) add(widen(row + c + k * W), k);
  for (; c < width; c += W) {
    float some[W];
    for (int64_t i = 0; i < W; i++) some[i] = c + i < width ? widen(row[c + i]) : beyond;
    add(load(some), 0);
  }
}

template <class T>
float greatest_of(const T* row, int64_t width) {
  Vec found[AT_ONCE];
  for (Vec& some : found) some = splat(-INFINITY);
  each_vector(row, width, -INFINITY, [&](Vec x, int64_t k) INLINE_LAMBDA { found[k] = max(x, found[k]); });
  float lanes[W];
  store(lanes, max(max(found[0], found[1]), max(found[2], found[3])));
  return *std::max_element(lanes, lanes + W);
}

template <class T>
float sum_of_powers(const T* row, int64_t width, float greatest) {
  Vec found[AT_ONCE] = {};
  each_vector(row, width, -INFINITY, [&](Vec x, int64_t k) INLINE_LAMBDA { found[k] += power(x, greatest); });
  return sum((found[0] + found[1]) + (found[2] + found[3]));
}

template <class T>
float mean_of(const T* row, int64_t width) {
  Vec found[AT_ONCE] = {};
  each_vector(row, width, 0.0f, [&](Vec x, int64_t k) INLINE_LAMBDA { found[k] += x; });
  return sum((found[0] + found[1]) + (found[2] + found[3])) / static_cast<float>(width);
}

template <class T>
void become_gradient(T* row, int64_t width, int64_t label, float normaliser, const Terms& terms) {
  const float factor = 1.0f + 2.0f * terms.z_loss * normaliser, spread = terms.label_smoothing / static_cast<float>(width);
  const auto gradient = [&](Vec x) INLINE_LAMBDA { return power(x, normaliser) * factor - spread; };
  float at_label[W], last[W] = {};
  store(at_label, gradient(splat(widen(row[label]))) + (terms.label_smoothing - 1.0f));
  int64_t c = 0;
  for (; c + W <= width; c += W) narrow(gradient(widen(row + c)), row + c);
  if (c < width) {
    for (int64_t i = c; i < width; i++) last[i - c] = widen(row[i]);
    T narrowed[W];
    narrow(gradient(load(last)), narrowed);
    std::memcpy(row + c, narrowed, (width - c) * sizeof(T));
  }
  T narrowed[W];
  narrow(load(at_label), narrowed);
  row[label] = narrowed[0];
}

template <class T>
void cross_entropy(T* logits, const int64_t* labels, float* losses, int64_t num_rows, int64_t width, const Terms& terms,
                   bool wanted, int32_t num_threads) {
#pragma omp parallel for schedule(static) num_threads(num_threads)
  for (int64_t r = 0; r < num_rows; r++) {
    T* row = logits + r * width;
    const float greatest = greatest_of(row, width);
    const float normaliser = greatest + std::log(sum_of_powers(row, width, greatest));
    float target = (1.0f - terms.label_smoothing) * widen(row[labels[r]]);
    if (terms.label_smoothing != 0.0f) target += terms.label_smoothing * mean_of(row, width);
    losses[r] = normaliser - target + terms.z_loss * normaliser * normaliser;
    if (wanted) become_gradient(row, width, labels[r], normaliser, terms);
  }
}

}  // namespace

// logits [num_rows, width], labels [num_rows] in 0 .. width - 1, losses [num_rows].
extern "C" void cross_entropy_rows(void* logits, const int64_t* labels, float* losses, int64_t num_rows, int64_t width,
                                   float z_loss, float label_smoothing, int32_t wanted, int32_t is_bfloat16,
                                   int32_t num_threads) {
  const Terms terms{z_loss, label_smoothing};
  if (is_bfloat16)
    cross_entropy(static_cast<uint16_t*>(logits), labels, losses, num_rows, width, terms, wanted, num_threads);
  else
    cross_entropy(static_cast<float*>(logits), labels, losses, num_rows, width, terms, wanted, num_threads);
}
