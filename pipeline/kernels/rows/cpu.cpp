// What a layer does to each row on its own, between its matrix products, in one pass each: dropout (with the residual it
// is added to), RMSNorm, gated GELU; forward and backward, float32 and bfloat16. The specification is reference.py.
//
// Sums are taken in an order that follows from the shape alone, so bits repeat for any number of threads.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../cpu_target.h"

namespace {

#include "../attention/cpu_simd.h"
#include "../masking/philox.h"

constexpr int64_t SMALL = 1 << 15;  // numbers: fewer are not worth waking other threads
constexpr int64_t GROUPS = 64;      // of rows, at most: each sums a weight's gradient by itself

int threads_for(int64_t numbers, int32_t num_threads) { return numbers < SMALL ? 1 : num_threads; }

// `count` (at most W) numbers of a row, as a vector; what is beyond is 0.
template <class T>
INLINE Vec take(const T* x, int64_t count) {
  if (count >= W) return widen(x);
  T some[W] = {};
  std::memcpy(some, x, count * sizeof(T));
  return widen(some);
}

enum class Subnormals { KEPT, ZERO };

// ZERO: where the processor rounds to bfloat16 by itself, in one instruction and not ten, it makes them 0.
template <Subnormals>
INLINE void round_to(Vec x, float* to) {
  narrow(x, to);
}
template <Subnormals SUBNORMALS>
INLINE void round_to(Vec x, uint16_t* to) {
#if defined(SPANWRIGHT_AVX512) && defined(__AVX512BF16__)
  if constexpr (SUBNORMALS == Subnormals::ZERO) {
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)x);
    std::memcpy(to, &rounded, sizeof(rounded));
    return;
  }
#endif
  narrow(x, to);
}

template <Subnormals SUBNORMALS = Subnormals::ZERO, class T>
INLINE void give(Vec x, int64_t count, T* to) {
  if (count >= W) return round_to<SUBNORMALS>(x, to);
  T some[W];
  round_to<SUBNORMALS>(x, some);
  std::memcpy(to, some, count * sizeof(T));
}

template <class T>
INLINE Vec rounded(Vec x) {  // to the numbers of T
  T some[W];
  narrow(x, some);
  return widen(some);
}

#include "cpu_dropout.h"
#include "cpu_gate.h"
#include "cpu_norm.h"

}  // namespace

#define FOR_BOTH_TYPES(function, ...)                   \
  is_bfloat16 ? function<uint16_t>(__VA_ARGS__) : function<float>(__VA_ARGS__)

extern "C" void rows_dropout(const void* x, const void* residual, void* out, const RowStream* stream, int64_t num_rows,
                             int64_t width, int32_t is_bfloat16, int32_t num_threads) {
  FOR_BOTH_TYPES(dropout, x, residual, out, *stream, num_rows, width, num_threads);
}

extern "C" void rows_gated_gelu(const void* gate, const void* up, void* out, int64_t count, int32_t is_bfloat16,
                                int32_t num_threads) {
  FOR_BOTH_TYPES(gated_gelu, gate, up, out, count, num_threads);
}

extern "C" void rows_gated_gelu_backward(const void* grad, const void* gate, const void* up, void* grad_gate,
                                         void* grad_up, int64_t count, int32_t is_bfloat16, int32_t num_threads) {
  FOR_BOTH_TYPES(gated_gelu_backward, grad, gate, up, grad_gate, grad_up, count, num_threads);
}

extern "C" void rows_rms_norm(const void* x, const void* weight, void* out, float* inverse, float epsilon,
                              int64_t num_rows, int64_t width, int32_t is_bfloat16, int32_t num_threads) {
  FOR_BOTH_TYPES(rms_norm, x, weight, out, inverse, epsilon, num_rows, width, num_threads);
}

extern "C" void rows_rms_norm_backward(const void* grad, const void* x, const void* weight, const float* inverse,
                                       void* grad_x, void* grad_weight, int64_t num_rows, int64_t width,
                                       int32_t is_bfloat16, int32_t num_threads) {
  FOR_BOTH_TYPES(rms_norm_backward, grad, x, weight, inverse, grad_x, grad_weight, num_rows, width, num_threads);
}
