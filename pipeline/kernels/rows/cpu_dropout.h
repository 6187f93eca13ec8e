// Dropout by Philox bits, with the residual that its result is added to: the reference's bits, roundings included.

struct RowStream {
  const int64_t *rows, *positions;  // [T], the rows' names
  uint32_t key_low, key_high;
  uint32_t threshold;  // bits below it drop
  float scale;         // of what is kept
};

constexpr int64_t DRAWS = 4 * kLanes;  // of one call of Philox

template <class T>
INLINE void drop_some(const T* x, const T* residual, T* out, const uint32_t* bits, int64_t count, UVec limit, Vec scale) {
  for (int64_t c = 0; c < count; c += W) {
    const UVec kept = (UVec)(load(bits + c) >= limit);
    const Vec factor = (Vec)((UVec)scale & kept);
    Vec y = take(x + c, count - c) * factor;
    if (residual != nullptr) y = take(residual + c, count - c) + rounded<T>(y);
    give<Subnormals::KEPT>(y, count - c, out + c);
  }
}

// out = residual + dropout(x); `residual` may be null. Element c of a row is draw c.
template <class T>
void dropout(const void* x, const void* residual, void* out, const RowStream& stream, int64_t num_rows, int64_t width,
             int32_t num_threads) {
  const RoundKeys keys(stream.key_low, stream.key_high);
  const UVec limit = UVec{} + stream.threshold;
  const Vec scale = rounded<T>(splat(stream.scale));
#pragma omp parallel for schedule(static) num_threads(threads_for(num_rows * width, num_threads))
  for (int64_t row = 0; row < num_rows; row++) {
    alignas(64) uint32_t bits[DRAWS];
    for (int64_t c = 0; c < width; c += DRAWS) {
      philox_lanes<1>(static_cast<uint32_t>(stream.rows[row]), static_cast<uint32_t>(c / 4),
                      static_cast<uint64_t>(stream.positions[row]), keys, bits);
      const int64_t at = row * width + c;
      drop_some(static_cast<const T*>(x) + at, residual ? static_cast<const T*>(residual) + at : nullptr,
                static_cast<T*>(out) + at, bits, std::min(DRAWS, width - c), limit, scale);
    }
  }
}
