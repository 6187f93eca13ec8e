// One instruction set's vectors: lanes, exp2, transpose, conversions. Included once per set, inside its namespace.
//
// A Vec holds W floats. Only what GCC's vector extensions cannot say well is an intrinsic.

#if defined(SPANWRIGHT_AVX512)
constexpr int W = 16;
#elif defined(SPANWRIGHT_AVX2)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * W)));
typedef int32_t IVec __attribute__((vector_size(4 * W)));
typedef uint32_t UVec __attribute__((vector_size(4 * W)));
typedef uint64_t LongVec __attribute__((vector_size(4 * W)));
typedef uint16_t HalfVec __attribute__((vector_size(2 * W)));
typedef float VecAt __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t IVecAt __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint32_t UVecAt __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint16_t HalfVecAt __attribute__((vector_size(2 * W), aligned(2), may_alias));

INLINE Vec load(const float* x) { return *reinterpret_cast<const VecAt*>(x); }
INLINE IVec load(const int32_t* x) { return *reinterpret_cast<const IVecAt*>(x); }
INLINE UVec load(const uint32_t* x) { return *reinterpret_cast<const UVecAt*>(x); }
INLINE void store(float* to, Vec x) { *reinterpret_cast<VecAt*>(to) = x; }
INLINE void store(int32_t* to, IVec x) { *reinterpret_cast<IVecAt*>(to) = x; }
INLINE void store(uint32_t* to, UVec x) { *reinterpret_cast<UVecAt*>(to) = x; }
INLINE Vec splat(float x) { return Vec{} + x; }
INLINE IVec splat(int32_t x) { return IVec{} + x; }

// A bit for each lane of a vector: what is kept of a test until it is needed.
typedef uint16_t Bits;

INLINE Bits bits_below(UVec x, UVec limit) {  // of the lanes where x < limit
#if defined(SPANWRIGHT_AVX512)
  return _mm512_cmplt_epu32_mask((__m512i)x, (__m512i)limit);
#elif defined(SPANWRIGHT_AVX2)
  return static_cast<Bits>(_mm256_movemask_ps((__m256)(x < limit)));
#else
  Bits bits = 0;
  for (int i = 0; i < W; i++) bits |= static_cast<Bits>((x[i] < limit[i]) << i);
  return bits;
#endif
}

INLINE IVec lanes_of(Bits bits) {  // -1 in the lanes whose bit is set, else 0
#if defined(SPANWRIGHT_AVX512)
  return (IVec)_mm512_movm_epi32(bits);
#else
  IVec one;
  for (int i = 0; i < W; i++) one[i] = 1 << i;
  return (IVec)((splat(static_cast<int32_t>(bits)) & one) != 0);
#endif
}

INLINE Vec fma(Vec a, Vec b, Vec c) {
#if defined(SPANWRIGHT_AVX512)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(SPANWRIGHT_AVX2)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

INLINE Vec max(Vec a, Vec b) {  // b where either is NaN
#if defined(SPANWRIGHT_AVX512)
  return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(SPANWRIGHT_AVX2)
  return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

INLINE float sum(Vec x) {  // always in the order of the lanes' halves: the same bits every run
  float lanes[W];
  store(lanes, x);
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

// 2^x for x <= 0; 0 far below -126. Relative error at most 3e-7 when PRECISE (degree 5), else 3e-6 (degree 4): bfloat16
// probabilities are rounded to 2e-3. Minimax polynomials on [-0.5, 0.5]. NaN stays NaN.
template <bool PRECISE>
INLINE Vec exp2(Vec x) {
#if defined(SPANWRIGHT_AVX512)
  const Vec clamped = max(splat(-200.0f), x);
  const Vec whole = (Vec)_mm512_roundscale_ps((__m512)clamped, 0);
  const Vec part = clamped - whole;
#else
  constexpr float MAGIC = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  const Vec clamped = max(splat(-127.0f), x);
  const Vec shifted = clamped + MAGIC;
  const Vec part = clamped - (shifted - MAGIC);
#endif
  Vec y;
  if (PRECISE) {
    y = fma(splat(1.3264724e-3f), part, splat(9.6715130e-3f));
    y = fma(y, part, splat(5.5507336e-2f));
    y = fma(y, part, splat(2.4022242e-1f));
    y = fma(y, part, splat(6.9314700e-1f));
  } else {
    y = fma(splat(9.5828511e-3f), part, splat(5.5906430e-2f));
    y = fma(y, part, splat(2.4024099e-1f));
    y = fma(y, part, splat(6.9312418e-1f));
  }
  y = fma(y, part, splat(1.0f));
#if defined(SPANWRIGHT_AVX512)
  return (Vec)_mm512_scalef_ps((__m512)y, (__m512)whole);
#else
  const Vec scaled = (Vec)((IVec)y + ((IVec)shifted << 23));
  return x < -126.0f ? Vec{} : scaled;
#endif
}

// One stage of a transpose: exchanges the lanes whose number has the bit STEP between rows STEP apart.
template <int STEP>
INLINE void exchange(UVec* x) {
  UVec low, high;
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) {
    low[i] = (i & STEP) ? W + (i ^ STEP) : i;
    high[i] = (i & STEP) ? W + i : (i ^ STEP);
  }
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) {
    if (i & STEP) continue;
    const UVec a = x[i], b = x[i + STEP];
    x[i] = __builtin_shuffle(a, b, low);
    x[i + STEP] = __builtin_shuffle(a, b, high);
  }
}

// to[c][r] = from[r][c] for W x W 32-bit numbers, strides in numbers.
INLINE void transpose_square(const uint32_t* from, int64_t from_stride, uint32_t* to, int64_t to_stride) {
  UVec x[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) x[i] = load(from + i * from_stride);
  exchange<1>(x);
  exchange<2>(x);
  if constexpr (W >= 8) exchange<4>(x);
  if constexpr (W >= 16) exchange<8>(x);
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) store(to + i * to_stride, x[i]);
}

// to[c][r] = from[r][c]; rows and columns are multiples of W.
INLINE void transpose(const void* from, int64_t rows, int64_t columns, int64_t from_stride, void* to,
                      int64_t to_stride) {
  const auto* source = static_cast<const uint32_t*>(from);
  auto* target = static_cast<uint32_t*>(to);
  for (int64_t r = 0; r < rows; r += W)
    for (int64_t c = 0; c < columns; c += W)
      transpose_square(source + r * from_stride + c, from_stride, target + c * to_stride + r, to_stride);
}

INLINE float widen(float x) { return x; }
INLINE float widen(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}
INLINE Vec widen(const float* x) { return load(x); }
INLINE Vec widen(const uint16_t* x) {
  return (Vec)(__builtin_convertvector(*reinterpret_cast<const HalfVecAt*>(x), UVec) << 16);
}

INLINE void narrow(Vec x, float* to) { store(to, x); }
INLINE void narrow(Vec x, uint16_t* to) {  // to nearest, ties to even; NaN stays NaN
  const UVec bits = (UVec)x, rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const UVec kept = (UVec)(x != x);
  *reinterpret_cast<HalfVecAt*>(to) = __builtin_convertvector((kept & 0x7FC0) | (~kept & rounded), HalfVec);
}

// to[c] = factor * from[c] for c < count; `from` may be read up to the next multiple of W.
template <class Out>
INLINE void write_row(const float* from, float factor, int64_t count, Out* to) {
  int64_t c = 0;
  for (; c + W <= count; c += W) narrow(load(from + c) * factor, to + c);
  if (c == count) return;
  Out last[W];
  narrow(load(from + c) * factor, last);
  std::memcpy(to + c, last, (count - c) * sizeof(Out));
}

// The dot product of two rows, in float32; lane by lane, then `sum`.
template <class In>
INLINE float dot(const In* x, const In* y, int64_t count) {
  Vec sums{};
  int64_t c = 0;
  for (; c + W <= count; c += W) sums = fma(widen(x + c), widen(y + c), sums);
  float total = sum(sums);
  for (; c < count; c++) total += widen(x[c]) * widen(y[c]);
  return total;
}
