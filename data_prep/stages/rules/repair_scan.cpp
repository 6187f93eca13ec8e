// What a text may need of the repairs in repair.py, found in one look at its bytes (for settled.py).
//
// Invariant: what is not reported is not needed; what is reported may turn out not to be.

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

enum Need : int32_t { kControl = 1, kMojibake = 2, kComposed = 4, kCompatible = 8 };

constexpr int kMostPairs = 32;

// Tables by UTF-16 unit: `first` and `second` are those of repair.py; `needs` is what a unit may need.
struct Tables {
  const uint16_t* first;
  const uint16_t* second;
  const uint8_t* needs;
};

// Pairs that may be mojibake: how many, and where the second of each is, in UTF-16 units (of the first kMostPairs).
struct Pairs {
  int32_t count = 0, num_units = 0, places[kMostPairs];
};

constexpr int64_t kBlock = 64, kStride = 8;

// Which of up to kBlock bytes are no ASCII, or a control character that is removed or replaced.
class OddBytes {
 public:
  OddBytes(const uint8_t* at, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t byte = at[i];
      odd_[i] = (byte >= 0x7F) | ((byte < 0x20) & (byte != '\t') & (byte != '\n') & (byte != '\f'));
    }
    std::memset(odd_ + count, 1, kStride);  // where a search ends
  }

  // The first from `place` on; their number where there is none.
  int64_t Next(int64_t place) const {
    uint64_t eight;
    for (;; place += kStride) {
      std::memcpy(&eight, odd_ + place, kStride);
      if (eight) return place + __builtin_ctzll(eight) / 8;
    }
  }

 private:
  uint8_t odd_[kBlock + kStride];
};

class Scan {
 public:
  Scan(const Tables& tables, Pairs* pairs) : tables_(tables), pairs_(pairs) {}

  int32_t Needs(const uint8_t* at, const uint8_t* end) {
    while (at < end) {
      const int64_t count = std::min(kBlock, end - at);
      const OddBytes odd(at, count);
      for (const uint8_t *const begin = at, *const stop = at + count; at < stop;) {
        const uint8_t* const next = begin + odd.Next(at - begin);
        if (at < next) Plain(at, next);
        at = next < stop ? Character(next) : next;
      }
    }
    pairs_->num_units = static_cast<int32_t>(num_units_);
    return needs_;
  }

 private:
  // ASCII: only the first has a neighbour before it with which it may be a pair.
  void Plain(const uint8_t* at, const uint8_t* end) {
    Unit(at[0]);
    before_ = end[-1];
    num_units_ += end - at - 1;
  }

  const uint8_t* Character(const uint8_t* at) {
    const uint32_t lead = at[0];
    if (lead < 0x80) return Unit(lead), at + 1;
    if (lead < 0xE0) return Unit((lead & 31) << 6 | (at[1] & 63)), at + 2;
    if (lead < 0xF0) return Unit((lead & 15) << 12 | (at[1] & 63) << 6 | (at[2] & 63)), at + 3;
    const uint32_t above = ((lead & 7) << 18 | (at[1] & 63) << 12 | (at[2] & 63) << 6 | (at[3] & 63)) - 0x10000;
    Unit(0xD800 + (above >> 10));
    Unit(0xDC00 + (above & 0x3FF));
    return at + 4;
  }

  void Unit(uint32_t unit) {
    needs_ |= tables_.needs[unit];
    if (__builtin_expect((tables_.first[before_] & tables_.second[unit]) != 0, 0)) Pair();
    before_ = unit;
    ++num_units_;
  }

  void Pair() {
    needs_ |= kMojibake;
    if (pairs_->count < kMostPairs) pairs_->places[pairs_->count] = static_cast<int32_t>(num_units_);
    pairs_->count += pairs_->count <= kMostPairs;
  }

  const Tables tables_;
  Pairs* const pairs_;
  uint32_t before_ = '\n';
  int64_t num_units_ = 0;
  int32_t needs_ = 0;
};

}  // namespace

extern "C" {

// A sum of `Need` for a text in valid UTF-8 of less than 2 GiB, and the pairs found.
__attribute__((visibility("default"))) int32_t repair_needs(const uint8_t* text, int64_t num_bytes, const uint16_t* first,
                                                            const uint16_t* second, const uint8_t* needs, Pairs* pairs) {
  return Scan({first, second, needs}, pairs).Needs(text, text + num_bytes);
}
}
