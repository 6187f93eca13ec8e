// 64 bytes or 16 characters at a time, where the processor has AVX-512 with byte permutations (VBMI). Elsewhere nothing is
// here, and the loops of the headers that include this do all the work: `Ahead` advances as far as it can, maybe nowhere.
#pragma once

#include <cstdint>

#include "boundaries_text.h"

#if defined(__AVX512BW__) && defined(__AVX512VBMI__) && defined(__AVX512VBMI2__)
#include <immintrin.h>

namespace {

// The properties of ASCII characters, by tables of their low and high bytes.
class AsciiAhead {
 public:
  static constexpr int kWidth = 64, kLeast = 8;  // fewer in a row are not worth the trouble

  explicit AsciiAhead(const Property* table) {
    alignas(64) uint8_t low[128], high[128];
    for (int code = 0; code < 128; ++code) low[code] = table[code] & 255, high[code] = table[code] >> 8;
    for (int half = 0; half < 2; ++half) {
      low_[half] = _mm512_load_si512(low + 64 * half);
      high_[half] = _mm512_load_si512(high + 64 * half);
    }
  }

  // How many ASCII characters begin at `at`, at most 64: their properties, begins and marks are written (and more, which
  // is written again), and their events appended.
  int Decode(const uint8_t* bytes, int64_t at, int64_t place, Property* properties, int32_t* begins, uint8_t* marks,
             int32_t** event) const {
    const __m512i codes = _mm512_loadu_si512(bytes + at);
    const uint64_t others = _mm512_movepi8_mask(codes);
    const int count = others ? __builtin_ctzll(others) : kWidth;
    if (count < kLeast) return 0;
    const __m512i low = _mm512_permutex2var_epi8(low_[0], codes, low_[1]);
    const __m512i high = _mm512_permutex2var_epi8(high_[0], codes, high_[1]);
    const __m512i first = Join(_mm512_castsi512_si256(low), _mm512_castsi512_si256(high));
    const __m512i second = Join(_mm512_extracti64x4_epi64(low, 1), _mm512_extracti64x4_epi64(high, 1));
    _mm512_storeu_si512(properties + place, first);
    _mm512_storeu_si512(properties + place + 32, second);
    const __m512i sixteen = _mm512_set1_epi32(16);
    __m512i begin = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>(at)),
                                     _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    for (int part = 0; part < 4; ++part, begin = _mm512_add_epi32(begin, sixteen))
      _mm512_storeu_si512(begins + place + 16 * part, begin);
    const __m512i blank = _mm512_set1_epi16(1 << kBlankBit), is_event = _mm512_set1_epi16(1 << kEventBit);
    const uint64_t blanks = Both(_mm512_test_epi16_mask(first, blank), _mm512_test_epi16_mask(second, blank));
    _mm512_storeu_si512(marks + place, _mm512_maskz_set1_epi8(blanks, kBlankCharacter));
    uint64_t found = Both(_mm512_test_epi16_mask(first, is_event), _mm512_test_epi16_mask(second, is_event));
    if (others) found &= (uint64_t{1} << count) - 1;
    for (; found; found &= found - 1) *(*event)++ = static_cast<int32_t>(place) + __builtin_ctzll(found);
    return count;
  }

 private:
  static __m512i Join(__m256i low, __m256i high) {
    return _mm512_or_si512(_mm512_cvtepu8_epi16(low), _mm512_slli_epi16(_mm512_cvtepu8_epi16(high), 8));
  }
  static uint64_t Both(uint32_t first, uint32_t second) { return first | static_cast<uint64_t>(second) << 32; }

  __m512i low_[2], high_[2];
};

// Pairs of word classes: for each left class, which right ones it breaks before, and at which the rules must look.
class PairsAhead {
 public:
  static constexpr int kWidth = 16;

  template <typename Pair>
  PairsAhead(Pair pair, uint8_t a_break, uint8_t a_look) {
    alignas(64) uint32_t breaks[32] = {}, looks[32] = {};
    for (int left = 0; left < 32; ++left)
      for (int right = 0; right < 32; ++right) {
        const uint8_t found = pair(left, right);
        breaks[left] |= static_cast<uint32_t>(found == a_break) << right;
        looks[left] |= static_cast<uint32_t>(found == a_look) << right;
      }
    for (int half = 0; half < 2; ++half) {
      breaks_[half] = _mm512_load_si512(breaks + 16 * half);
      looks_[half] = _mm512_load_si512(looks + 16 * half);
    }
  }

  // Adds the breaks before 16 characters to their marks; returns before which of them to look.
  uint32_t Mark(const Property* properties, uint8_t* marks) const {
    const __m512i left = Classes(properties - 1), right = Classes(properties);
    const __m512i breaks = _mm512_srlv_epi32(_mm512_permutex2var_epi32(breaks_[0], left, breaks_[1]), right);
    const __m512i looks = _mm512_srlv_epi32(_mm512_permutex2var_epi32(looks_[0], left, looks_[1]), right);
    const __m512i one = _mm512_set1_epi32(1);
    const __m128i starts = _mm_maskz_set1_epi8(_mm512_test_epi32_mask(breaks, one), kWordStart);
    __m128i* const at = reinterpret_cast<__m128i*>(marks);
    _mm_storeu_si128(at, _mm_or_si128(_mm_loadu_si128(at), starts));
    return _mm512_test_epi32_mask(looks, one);
  }

 private:
  static __m512i Classes(const Property* properties) {
    const __m256i found = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(properties));
    return _mm512_cvtepu16_epi32(_mm256_and_si256(found, _mm256_set1_epi16(31)));
  }

  __m512i breaks_[2], looks_[2];
};

// Marks of characters to marks of their bytes, for the first of them in blocks of 64 bytes; how many bytes, and characters.
inline int64_t SpreadAhead(const uint8_t* text, int64_t num_bytes, const uint8_t* of_characters, uint8_t* of_bytes,
                           int64_t* place) {
  const __m512i continuation = _mm512_set1_epi8(kContinuation);
  int64_t at = 0;
  for (; at + 64 <= num_bytes; at += 64) {
    const __m512i bytes = _mm512_loadu_si512(text + at);
    const __m512i top = _mm512_and_si512(bytes, _mm512_set1_epi8(static_cast<char>(0xC0)));
    const uint64_t begins = _mm512_cmpneq_epi8_mask(top, _mm512_set1_epi8(static_cast<char>(0x80)));
    _mm512_storeu_si512(of_bytes + at, _mm512_mask_expandloadu_epi8(continuation, begins, of_characters + *place));
    *place += __builtin_popcountll(begins);
  }
  return at;
}

}  // namespace

#else

namespace {

class AsciiAhead {
 public:
  static constexpr int kWidth = 0;
  explicit AsciiAhead(const Property*) {}
  int Decode(const uint8_t*, int64_t, int64_t, Property*, int32_t*, uint8_t*, int32_t**) const { return 0; }
};

class PairsAhead {
 public:
  static constexpr int kWidth = 0;
  template <typename Pair>
  PairsAhead(Pair, uint8_t, uint8_t) {}
  uint32_t Mark(const Property*, uint8_t*) const { return 0; }
};

inline int64_t SpreadAhead(const uint8_t*, int64_t, const uint8_t*, uint8_t*, int64_t*) { return 0; }

}  // namespace

#endif
