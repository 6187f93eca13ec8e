// The random bits of a sample's units, and "the k units with the smallest (key, index)".

#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu_plan.h"
#include "philox.h"

template <class T>
void grow(std::vector<T>& values, int64_t size) {
  if (static_cast<int64_t>(values.size()) < size) values.resize(size);
}

class Draws {
 public:
  explicit Draws(const Plan& plan) : plan_(plan), keys_(plan.key_low, plan.key_high) {}

  // Draw what the plan needs for the `count` units of the sample at `position`.
  void start(int64_t position, int64_t count) {
    draw(kSelect, position, count);
    if (plan_.select == kDrawnSpans || plan_.joins_units) draw(kLength, position, count);
    if (plan_.replace == kTokenByToken && plan_.mask_threshold < kCertain) {
      draw(kReplace, position, count);
      draw(kRandomToken, position, count);
    }
    if (plan_.reorders) draw(kOrder, position, count);
  }

  const uint32_t* of(Purpose purpose, int64_t place) const { return bits_[purpose].data() + place; }

  // The k of n units with the smallest (key, index), ascending by index.
  //
  // 1. Those whose keys are below a limit that about k are below: only they are looked at again.
  // 2. The limit that exactly k are below, searched where evenly spread keys would have it, then by halves.
  // 3. Where no such limit is, since keys are equal: of these, the first.
  const std::vector<int32_t>& smallest_k(const uint32_t* keys, int64_t n, int64_t k, std::vector<int32_t>& out) {
    grow(out, n + kLanes);
    if (k <= 0) return out;
    if (k >= n) {
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<int32_t>(i);
      return out;
    }
    grow(likely_keys_, n + kLanes), grow(likely_, n + kLanes);
    const double share = (k + 4.0 * std::sqrt(static_cast<double>(k)) + 8.0) / n;  // only a guess: never changes bits
    uint64_t limit = share < 1.0 ? static_cast<uint64_t>(share * kCertain) : kCertain;
    int64_t count = below(keys, n, limit);
    if (count < k) count = below(keys, n, limit = kCertain);
    int64_t equal = 0;
    const uint64_t last = limit_of(k, count, limit, &equal);
    if (equal == 0) {
      compress(likely_keys_.data(), likely_.data(), count, last, nullptr, out.data());
      return out;
    }
    for (int64_t i = 0, taken = 0; taken < k; ++i) {
      out[taken] = likely_[i];
      const bool tied = likely_keys_[i] == last && equal > 0;
      equal -= tied;
      taken += likely_keys_[i] < last || tied;
    }
    return out;
  }

  // All n units by (key, index).
  const std::vector<uint64_t>& ordered(const uint32_t* keys, int64_t n) {
    grow(ordered_, n);
    for (int64_t i = 0; i < n; ++i) ordered_[i] = static_cast<uint64_t>(keys[i]) << 32 | static_cast<uint64_t>(i);
    std::sort(ordered_.begin(), ordered_.begin() + n);
    return ordered_;  // the index is the low half
  }

 private:
  void draw(Purpose purpose, int64_t position, int64_t count) {
    std::vector<uint32_t>& bits = bits_[purpose];
    const int64_t blocks = (count + 3) / 4;
    grow(bits, 4 * (blocks + kLanes));
    for (int64_t b = 0; b < blocks; b += kLanes) {
      philox_lanes(static_cast<uint32_t>(b), purpose, static_cast<uint64_t>(position), keys_,
                   bits.data() + 4 * b);
    }
  }

  // Keeps the units with keys below `limit`; returns how many they are.
  int64_t below(const uint32_t* keys, int64_t n, uint64_t limit) {
    return compress(keys, nullptr, n, limit, likely_keys_.data(), likely_.data());
  }

  // The keys below `limit` (to `keys_out`, unless null) and their numbers, which are 0, 1, ... unless given. Writes up
  // to kLanes more than it returns.
  static int64_t compress(const uint32_t* keys, const int32_t* numbers, int64_t n, uint64_t limit, uint32_t* keys_out,
                          int32_t* numbers_out) {
    int64_t count = 0, i = 0;
#ifdef __AVX512F__
    const __m512i greatest = _mm512_set1_epi32(static_cast<int>(limit - 1));
    __m512i index = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (; i + kLanes <= n; i += kLanes) {
      const __m512i key = _mm512_loadu_si512(keys + i);
      const __m512i number = numbers ? _mm512_loadu_si512(numbers + i) : index;
      const __mmask16 taken = _mm512_cmple_epu32_mask(key, greatest);
      if (keys_out) _mm512_storeu_si512(keys_out + count, _mm512_maskz_compress_epi32(taken, key));
      _mm512_storeu_si512(numbers_out + count, _mm512_maskz_compress_epi32(taken, number));
      count += __builtin_popcount(taken);
      index = _mm512_add_epi32(index, _mm512_set1_epi32(kLanes));
    }
#endif
    for (; i < n; ++i) {
      if (keys_out) keys_out[count] = keys[i];
      numbers_out[count] = numbers ? numbers[i] : static_cast<int32_t>(i);
      count += keys[i] < limit;
    }
    return count;
  }

  // The limit that k of the `count` likely keys are below, all being below `high`; or, if there is none, a key, and how
  // many of those equal to it belong to the k.
  uint64_t limit_of(int64_t k, int64_t count, uint64_t high, int64_t* equal) const {
    uint64_t low = 0;
    int64_t below_low = 0, below_high = count;
    if (count == k) return high;
    for (int step = 0; high - low > 1; ++step) {
      const uint64_t even = (high - low) * (2 * (k - below_low) + 1) / (2 * (below_high - below_low + 1));
      const uint64_t middle = step < 6 ? std::clamp(low + even, low + 1, high - 1) : low + (high - low) / 2;
      const int64_t found = num_below(count, static_cast<uint32_t>(middle));
      if (found == k) return middle;
      if (found < k) low = middle, below_low = found;
      else high = middle, below_high = found;
    }
    *equal = k - below_low;
    return low;
  }

  int64_t num_below(int64_t count, uint32_t limit) const {
    const uint32_t* keys = likely_keys_.data();
    uint32_t found = 0;
    for (int64_t i = 0; i < count; ++i) found += keys[i] < limit;
    return found;
  }

  const Plan& plan_;
  const RoundKeys keys_;
  std::vector<uint32_t> bits_[kPurposes];
  std::vector<uint32_t> likely_keys_;
  std::vector<int32_t> likely_;
  std::vector<uint64_t> ordered_;
};

// Key of a weighted draw without replacement: -log2(u) / weight in fixed point (pipeline/corruption/tables.py).
inline uint32_t weighted_key(uint32_t bits, uint8_t weight, const int64_t* log2_table) {
  if (weight == 0) return UINT32_MAX;
  const uint64_t value = uint64_t{bits} + 1;
  const int exponent = 63 - __builtin_clzll(value);
  const uint64_t mantissa = value << (32 - exponent) & UINT32_MAX;
  const uint64_t segment = mantissa >> 22, fraction = mantissa & ((1 << 22) - 1);
  const auto low = static_cast<uint64_t>(log2_table[segment]), high = static_cast<uint64_t>(log2_table[segment + 1]);
  const uint64_t log2_value = (static_cast<uint64_t>(exponent) << 26) + low + ((high - low) * fraction >> 22);
  const uint64_t whole = uint64_t{32} << 26;
  const uint64_t negative = log2_value < whole ? whole - log2_value : 1;
  return static_cast<uint32_t>((negative * 2 - 2) / weight);
}
