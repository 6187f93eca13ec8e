// gelu(gate) * up, GELU in its tanh form: x * sigmoid(2 u), u = sqrt(2 / pi) * (x + 0.044715 x^3).

constexpr float CUBIC = 0.044715f;
constexpr float TWICE_ROOT = 1.5957691216057308f;  // 2 * sqrt(2 / pi)
constexpr float LOG2_E = 1.4426950408889634f;
constexpr int64_t STRETCH = 1 << 12;  // numbers of one task

INLINE Vec sigmoid(Vec x) {
  const Vec small = exp2<true>((x > 0.0f ? -x : x) * LOG2_E);
  return (x > 0.0f ? splat(1.0f) : small) / (small + 1.0f);
}

template <class T>
void gated_gelu(const void* gate, const void* up, void* out, int64_t count, int32_t num_threads) {
#pragma omp parallel for schedule(static) num_threads(threads_for(count, num_threads))
  for (int64_t start = 0; start < count; start += STRETCH) {
    const int64_t stop = std::min(start + STRETCH, count);
    for (int64_t c = start; c < stop; c += W) {
      const Vec x = take(static_cast<const T*>(gate) + c, stop - c);
      const Vec share = sigmoid(x * fma(x * x, splat(TWICE_ROOT * CUBIC), splat(TWICE_ROOT)));
      give(x * share * take(static_cast<const T*>(up) + c, stop - c), stop - c, static_cast<T*>(out) + c);
    }
  }
}

template <class T>
void gated_gelu_backward(const void* grad, const void* gate, const void* up, void* grad_gate, void* grad_up,
                         int64_t count, int32_t num_threads) {
#pragma omp parallel for schedule(static) num_threads(threads_for(count, num_threads))
  for (int64_t start = 0; start < count; start += STRETCH) {
    const int64_t stop = std::min(start + STRETCH, count);
    for (int64_t c = start; c < stop; c += W) {
      const Vec x = take(static_cast<const T*>(gate) + c, stop - c), square = x * x;
      const Vec share = sigmoid(x * fma(square, splat(TWICE_ROOT * CUBIC), splat(TWICE_ROOT)));
      const Vec slope = fma(square, splat(3 * TWICE_ROOT * CUBIC), splat(TWICE_ROOT));  // of 2 u
      const Vec by_out = take(static_cast<const T*>(grad) + c, stop - c);
      const Vec by_gelu = by_out * take(static_cast<const T*>(up) + c, stop - c);
      give(by_out * (x * share), stop - c, static_cast<T*>(grad_up) + c);
      give(by_gelu * (share + x * share * (1.0f - share) * slope), stop - c, static_cast<T*>(grad_gate) + c);
    }
  }
}
