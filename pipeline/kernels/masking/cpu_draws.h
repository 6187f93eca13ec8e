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
  explicit Draws(const Plan& plan) : plan_(plan) {}

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

  // The k of n units with the smallest (key, index), ascending by index. Only likely ones are looked at twice.
  const std::vector<int32_t>& smallest_k(const uint32_t* keys, int64_t n, int64_t k, std::vector<int32_t>& out) {
    grow(out, n + 1);
    if (k <= 0) return out;
    if (k >= n) {
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<int32_t>(i);
      return out;
    }
    grow(likely_, n + 1);
    const double share = (k + 4.0 * std::sqrt(static_cast<double>(k)) + 8.0) / n;  // only a guess: never changes bits
    int64_t count = below(keys, n, share < 1.0 ? static_cast<uint64_t>(share * kCertain) : kCertain);
    if (count < k) count = below(keys, n, kCertain);
    ordered_.assign(likely_.begin(), likely_.begin() + count);
    std::nth_element(ordered_.begin(), ordered_.begin() + (k - 1), ordered_.end());
    const uint64_t last = ordered_[k - 1];
    for (int64_t i = 0, taken = 0; i < count && taken < k; ++i) {
      out[taken] = static_cast<int32_t>(likely_[i]);
      taken += likely_[i] <= last;
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
      philox_lanes(static_cast<uint32_t>(b), purpose, static_cast<uint64_t>(position), plan_.key_low, plan_.key_high,
                   bits.data() + 4 * b);
    }
  }

  int64_t below(const uint32_t* keys, int64_t n, uint64_t limit) {
    int64_t count = 0;
    uint64_t* likely = likely_.data();
    for (int64_t i = 0; i < n; ++i) {
      likely[count] = static_cast<uint64_t>(keys[i]) << 32 | static_cast<uint64_t>(i);
      count += keys[i] < limit;
    }
    return count;
  }

  const Plan& plan_;
  std::vector<uint32_t> bits_[kPurposes];
  std::vector<uint64_t> likely_, ordered_;
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
