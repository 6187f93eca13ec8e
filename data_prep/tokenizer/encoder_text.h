// UTF-8 text, known to be valid, and where its encoding segments end.
#pragma once

#include <algorithm>
#include <cstdint>

namespace {

// Length of the character that starts with `lead`, in valid UTF-8.
inline int CharBytes(uint8_t lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

inline uint32_t CodePoint(const uint8_t* at, int num_bytes) {
  switch (num_bytes) {
    case 1: return at[0];
    case 2: return (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu);
    case 3: return (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
    default: return (at[0] & 0x07u) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu);
  }
}

inline bool StartsCharacter(uint8_t byte) { return (byte & 0xC0) != 0x80; }

// White space as Python's `\s` and str.isspace() have it.
inline bool IsSpace(uint32_t c) {
  return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// Where the segment that begins at `begin` ends: the rule of segments.py.
class SegmentRule {
 public:
  SegmentRule(const uint8_t* begin, const uint8_t* end) : end_(end) {
    const uint8_t* const earliest = Skip(begin, kSegmentChars);
    const uint8_t* const latest = Skip(earliest, kSegmentChars);
    stop_ = BeforeSpace(earliest, latest);
    if (!stop_) stop_ = latest < end ? BeforeAnySpace(earliest) : end;
  }
  const uint8_t* Stop() const { return stop_; }

 private:
  static constexpr int64_t kSegmentChars = 4096;

  // `num_chars` characters further, at most at the end. A block of as many bytes as characters are left never passes it.
  const uint8_t* Skip(const uint8_t* at, int64_t num_chars) const {
    while (num_chars > 0 && at < end_) {
      const uint8_t* const stop = at + std::min<int64_t>(num_chars, end_ - at);
      num_chars -= std::count_if(at, stop, StartsCharacter);
      at = stop;
    }
    while (at < end_ && !StartsCharacter(*at)) ++at;
    return at;
  }
  const uint8_t* BeforeSpace(const uint8_t* at, const uint8_t* latest) const {
    for (; at <= latest && at < end_; ++at) {
      if (*at == ' ' && at[-1] != ' ') return at;
    }
    return nullptr;
  }
  const uint8_t* BeforeAnySpace(const uint8_t* at) const {
    const uint8_t* left = at - 1;
    while (!StartsCharacter(*left)) --left;
    for (bool after_space = IsSpace(CodePoint(left, CharBytes(*left))); at < end_; at += CharBytes(*at)) {
      const bool space = IsSpace(CodePoint(at, CharBytes(*at)));
      if (space && !after_space) return at;
      after_space = space;
    }
    return end_;
  }

  const uint8_t* const end_;
  const uint8_t* stop_;
};

}  // namespace
