// RMSNorm: out = x * inverse * weight, inverse = 1 / sqrt(mean(x^2) + epsilon), in float32 inside.

template <class T>
void rms_norm(const void* x, const void* weight, void* out, float* inverse, float epsilon, int64_t num_rows,
              int64_t width, int32_t num_threads) {
  const T* weights = static_cast<const T*>(weight);
#pragma omp parallel for schedule(static) num_threads(threads_for(num_rows * width, num_threads))
  for (int64_t row = 0; row < num_rows; row++) {
    const T* from = static_cast<const T*>(x) + row * width;
    T* to = static_cast<T*>(out) + row * width;
    Vec squares{};
    for (int64_t c = 0; c < width; c += W) {
      const Vec some = take(from + c, width - c);
      squares = fma(some, some, squares);
    }
    const float by = inverse[row] = 1.0f / std::sqrt(sum(squares) / static_cast<float>(width) + epsilon);
    for (int64_t c = 0; c < width; c += W)
      give(take(from + c, width - c) * by * take(weights + c, width - c), width - c, to + c);
  }
}

// grad_x of one row; adds the row's part of the weight's gradient to `by_weight`, whose size is a multiple of W.
template <class T>
INLINE void rms_norm_backward_row(const T* grad, const T* x, const T* weight, float inverse, int64_t width, T* grad_x,
                                  float* by_weight) {
  Vec along{};
  for (int64_t c = 0; c < width; c += W) {
    const Vec normed = take(x + c, width - c) * inverse, by_out = take(grad + c, width - c) * normed;
    store(by_weight + c, load(by_weight + c) + by_out);
    along = fma(by_out, take(weight + c, width - c), along);
  }
  const float mean = sum(along) / static_cast<float>(width);
  for (int64_t c = 0; c < width; c += W) {
    const Vec normed = take(x + c, width - c) * inverse;
    const Vec by_normed = take(grad + c, width - c) * take(weight + c, width - c);
    give((by_normed - normed * mean) * inverse, width - c, grad_x + c);
  }
}

template <class T>
void rms_norm_backward(const void* grad, const void* x, const void* weight, const float* inverse, void* grad_x,
                       void* grad_weight, int64_t num_rows, int64_t width, int32_t num_threads) {
  const int64_t padded = (width + W - 1) / W * W, rows_of_group = std::max<int64_t>(16, (num_rows + GROUPS - 1) / GROUPS);
  const int64_t groups = (num_rows + rows_of_group - 1) / rows_of_group;
  std::vector<float> by_weight((groups + 1) * padded);
#pragma omp parallel for schedule(static) num_threads(threads_for(num_rows * width, num_threads))
  for (int64_t group = 0; group < groups; group++) {
    const int64_t stop = std::min((group + 1) * rows_of_group, num_rows);
    for (int64_t row = group * rows_of_group; row < stop; row++)
      rms_norm_backward_row(static_cast<const T*>(grad) + row * width, static_cast<const T*>(x) + row * width,
                            static_cast<const T*>(weight), inverse[row], width, static_cast<T*>(grad_x) + row * width,
                            by_weight.data() + group * padded);
  }
  float* total = by_weight.data() + groups * padded;
  for (int64_t group = 0; group < groups; group++)
    for (int64_t c = 0; c < padded; c += W) store(total + c, load(total + c) + load(by_weight.data() + group * padded + c));
  for (int64_t c = 0; c < width; c += W) give(load(total + c), width - c, static_cast<T*>(grad_weight) + c);
}
