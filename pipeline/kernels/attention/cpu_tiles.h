// Matrix products of small tiles, and the layouts they read. Included once per instruction set, inside its namespace.
//
//   C[M][N] (+)= A[M][K] B[K][N], C float32
//
// A is row-major. B is in *pair layout*: PACK consecutive rows interleaved into one row of 32-bit words, [K / PACK][N]:
// with bfloat16 (PACK 2) a word holds B[2k][n] and B[2k + 1][n], what one dot-product instruction eats; with float32
// (PACK 1) it is plain row-major. Seen as 32-bit words, turning rows into columns is one transpose in either case.
// Padding (head dimension, keys, queries, up to the multiples MULTIPLE) is zero.

template <int ROWS, int VECS, class Ops>
INLINE void tile(const typename Ops::Elem* a, int64_t lda, const uint32_t* b, int64_t ldb, float* c, int64_t ldc,
                 int64_t words, bool accumulate) {
  Vec sums[ROWS][VECS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 16
    for (int n = 0; n < VECS; n++) sums[r][n] = accumulate ? load(c + r * ldc + n * W) : Vec{};
  for (int64_t k = 0; k < words; k++) {
    UVec row[VECS];
#pragma GCC unroll 16
    for (int n = 0; n < VECS; n++) row[n] = load(b + k * ldb + n * W);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
      const UVec word = Ops::word(a + r * lda, k);
#pragma GCC unroll 16
      for (int n = 0; n < VECS; n++) sums[r][n] = Ops::multiply_add(word, row[n], sums[r][n]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 16
    for (int n = 0; n < VECS; n++) store(c + r * ldc + n * W, sums[r][n]);
}

// All rows of one strip of VECS vectors: as many at a time as the registers hold, then the rest.
template <int VECS, class Ops>
void strip(int64_t m, const typename Ops::Elem* a, int64_t lda, const uint32_t* b, int64_t ldb, float* c, int64_t ldc,
           int64_t words, bool accumulate) {
  constexpr int REGISTERS = W == 16 ? 26 : 12;
  constexpr int ROWS = REGISTERS / VECS > 12 ? 12 : REGISTERS / VECS;
  int64_t r = 0;
  for (; r + ROWS <= m; r += ROWS) tile<ROWS, VECS, Ops>(a + r * lda, lda, b, ldb, c + r * ldc, ldc, words, accumulate);
  if (ROWS > 4)
    for (; r + 4 <= m; r += 4) tile<4, VECS, Ops>(a + r * lda, lda, b, ldb, c + r * ldc, ldc, words, accumulate);
  for (; r < m; r++) tile<1, VECS, Ops>(a + r * lda, lda, b, ldb, c + r * ldc, ldc, words, accumulate);
}

template <class Ops>
void multiply(int64_t m, int64_t n, int64_t k, const typename Ops::Elem* a, int64_t lda, const typename Ops::Elem* b,
              int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  const auto* pairs = reinterpret_cast<const uint32_t*>(b);
  const int64_t words = k / Ops::PACK;
  constexpr int WIDEST = W == 16 ? 6 : 2;
  for (int64_t at = 0; at < n;) {
    int64_t vecs = (n - at) / W;
    if (vecs > WIDEST) vecs = vecs % WIDEST == 0 || W < 16 ? WIDEST : 4;
    switch (vecs) {
#if defined(SPANWRIGHT_AVX512)
      case 6:
        strip<6, Ops>(m, a, lda, pairs + at, ldb, c + at, ldc, words, accumulate);
        break;
      case 5:
        strip<5, Ops>(m, a, lda, pairs + at, ldb, c + at, ldc, words, accumulate);
        break;
      case 4:
        strip<4, Ops>(m, a, lda, pairs + at, ldb, c + at, ldc, words, accumulate);
        break;
      case 3:
        strip<3, Ops>(m, a, lda, pairs + at, ldb, c + at, ldc, words, accumulate);
        break;
#endif
      case 2:
        strip<2, Ops>(m, a, lda, pairs + at, ldb, c + at, ldc, words, accumulate);
        break;
      default:
        strip<1, Ops>(m, a, lda, pairs + at, ldb, c + at, ldc, words, accumulate);
        vecs = 1;
    }
    at += vecs * W;
  }
}

struct Float32 {
  using Elem = float;
  static constexpr int PACK = 1;
  static constexpr bool PRECISE = true;
  static constexpr int MULTIPLE = 16;  // of padded sizes: head dimension, keys, queries

  static INLINE UVec word(const float* row, int64_t k) { return (UVec)splat(row[k]); }
  static INLINE Vec multiply_add(UVec a, UVec b, Vec c) { return fma((Vec)a, (Vec)b, c); }
  static void gemm(int64_t m, int64_t n, int64_t k, const Elem* a, int64_t lda, const Elem* b, int64_t ldb, float* c,
                   int64_t ldc, bool accumulate) {
    multiply<Float32>(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
  static void release() {}
  static INLINE void put(Vec x, Elem* to) { store(to, x); }
  static INLINE void put_pair(Vec x, Vec y, Elem* to, int64_t stride) {
    store(to, x);
    store(to + stride, y);
  }
  static INLINE void interleave(const Elem* rows, int64_t stride, Elem* to, int64_t columns) {
    std::memcpy(to, rows, columns * sizeof(Elem));
  }
};

#if defined(SPANWRIGHT_AVX512_BF16)
struct BFloat16 {
  using Elem = uint16_t;
  static constexpr int PACK = 2;
  static constexpr bool PRECISE = false;
  static constexpr int MULTIPLE = 32;

  static void release() {}
  static INLINE UVec word(const uint16_t* row, int64_t k) {
    uint32_t pair;
    std::memcpy(&pair, row + 2 * k, 4);
    return UVec{} + pair;
  }
  static INLINE Vec multiply_add(UVec a, UVec b, Vec c) {
    return (Vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)b, (__m512bh)a);
  }
  static INLINE void put(Vec x, Elem* to) {
    const auto y = _mm512_cvtneps_pbh((__m512)x);
    std::memcpy(to, &y, 32);
  }
  // Two rows in pair layout: x in the low halves of the words, y in the high ones.
  static INLINE void put_pair(Vec x, Vec y, Elem* to, int64_t) {
    alignas(64) static constexpr uint16_t ORDER[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)y, (__m512)x);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(ORDER), both));
  }
  static INLINE void interleave(const Elem* rows, int64_t stride, Elem* to, int64_t columns) {
    for (int64_t c = 0; c < columns; c += 16) {
      const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(rows + c)));
      const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(rows + stride + c)));
      _mm512_storeu_si512(to + 2 * c, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
};

struct DotProducts : BFloat16 {  // AVX-512 BF16 instructions
  static void gemm(int64_t m, int64_t n, int64_t k, const Elem* a, int64_t lda, const Elem* b, int64_t ldb, float* c,
                   int64_t ldc, bool accumulate) {
    multiply<DotProducts>(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
};

struct TorchTiles : BFloat16 {  // torch's own brgemm: the way to AMX
  static void release() { at::native::cpublas::brgemm_release(true); }
  static void gemm(int64_t m, int64_t n, int64_t k, const Elem* a, int64_t lda, const Elem* b, int64_t ldb, float* c,
                   int64_t ldc, bool accumulate) {
    at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, accumulate, reinterpret_cast<const c10::BFloat16*>(a),
                                reinterpret_cast<const c10::BFloat16*>(b), c, true);
  }
};
#endif

// Rows of one head as Elem [padded_rows][width], zeros beyond `rows` and `columns`.
template <class Ops, class In>
void pack_rows(const In* from, int64_t stride, int64_t rows, int64_t columns, typename Ops::Elem* to,
               int64_t padded_rows, int64_t width) {
  using Elem = typename Ops::Elem;
  for (int64_t r = 0; r < rows; r++) {
    Elem* row = to + r * width;
    if constexpr (sizeof(In) == sizeof(Elem)) {
      std::memcpy(row, from + r * stride, columns * sizeof(Elem));
    } else {
      for (int64_t c = 0; c < columns; c++) row[c] = widen(from[r * stride + c]);
    }
    std::memset(row + columns, 0, (width - columns) * sizeof(Elem));
  }
  std::memset(to + rows * width, 0, (padded_rows - rows) * width * sizeof(Elem));
}

// B[k][n] = rows[k][n] in pair layout.
template <class Ops>
void pair_rows(const typename Ops::Elem* rows, int64_t num_rows, int64_t width, typename Ops::Elem* to) {
  for (int64_t r = 0; r < num_rows; r += Ops::PACK) Ops::interleave(rows + r * width, width, to + r * width, width);
}
