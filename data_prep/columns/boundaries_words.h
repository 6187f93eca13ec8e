// Word boundaries: rules WB3 to WB16 of UAX #29. `kMayJoin` decides most pairs of neighbours; `Joined` the others.
#pragma once

#include <cstdint>

#include "boundaries_characters.h"

namespace {

class Words {
 public:
  Words() : ahead_(Pair, kBreak, kLook) {
    for (int left = 0; left < 32; ++left)
      for (int right = 0; right < 32; ++right) pairs_[left << 5 | right] = Pair(left, right);
  }

  // Marks every character from `first` to `last`, whole lines, at which a word, or what stands between words, begins.
  void Mark(Characters& text, int64_t first, int64_t last) const {
    text.marks[first] |= kWordStart;
    int64_t place = first + 1;
    for (; PairsAhead::kWidth && place + PairsAhead::kWidth <= last; place += PairsAhead::kWidth) {
      uint32_t looks = ahead_.Mark(&text.properties[place], &text.marks[place]);
      for (; looks; looks &= looks - 1) {
        const int64_t at = place + __builtin_ctz(looks);
        if (!Joined(text, at)) text.marks[at] |= kWordStart;
      }
    }
    int left = WordOf(text.properties[place - 1]);
    for (; place < last; ++place) {
      const int right = WordOf(text.properties[place]);
      uint8_t pair = pairs_[left << 5 | right];
      if (__builtin_expect(pair == kLook, 0)) pair = Joined(text, place) ? kJoin : kBreak;
      text.marks[place] |= pair;
      left = right;
    }
  }

  // Whether a character ends a line; no rule looks across.
  static bool IsEnd(int c) { return c == kWordCr || c == kWordLf || c == kNewline; }
  // Whether a character may belong to what stands beside it, of any script.
  static bool Clings(int c) { return IsIgnored(c) || c == kExtendNumLet; }

 private:
  enum : uint8_t { kJoin = 0, kBreak = kWordStart, kLook = 255 };

  static bool IsIgnored(int c) { return c == kExtend || c == kFormat || c == kJoiner; }
  static bool IsLetter(int c) { return c == kLetter || c == kHebrew; }
  static bool IsQuoteOrMidNumLet(int c) { return c == kSingleQuote || c == kMidNumLet; }
  static bool IsMiddle(int c) { return IsQuoteOrMidNumLet(c) || c == kMidLetter || c == kMidNumber || c == kDoubleQuote; }

  static uint8_t Pair(int left, int right) {
    if (IsEnd(left) || IsEnd(right)) return left == kWordCr && right == kWordLf ? kJoin : kBreak;  // WB3, 3a, 3b
    if (IsIgnored(right)) return kJoin;                                                            // WB4
    if (IsIgnored(left) || IsMiddle(left) || IsMiddle(right)) return kLook;
    if (left == kRegional && right == kRegional) return kLook;
    if (left == kSpace && right == kSpace) return kJoin;  // WB3d
    return Touch(left, right) ? kJoin : kBreak;
  }

  // WB5, 8, 9, 10, 13, 13a, 13b
  static bool Touch(int left, int right) {
    const bool left_word = IsLetter(left) || left == kNumeric, right_word = IsLetter(right) || right == kNumeric;
    if (left == kKatakana && right == kKatakana) return true;
    if (right == kExtendNumLet) return left_word || left == kKatakana || left == kExtendNumLet;
    if (left == kExtendNumLet) return right_word || right == kKatakana;
    return left_word && right_word;
  }

  // Whether there is no boundary before `place`, whose class is none that WB4 passes over.
  static bool Joined(const Characters& text, int64_t place) {
    const auto word = [&](int64_t at) { return at < 0 || at >= text.count ? -1 : WordOf(text.properties[at]); };
    const int own = word(place), raw = word(place - 1);
    if (raw == kJoiner && IsPictograph(text.properties[place])) return true;  // WB3c
    const int64_t before = Before(text, place);
    const int left = word(before), left_left = IsMiddle(left) ? word(Before(text, before)) : -1;
    if (IsMiddle(left) && IsLetter(own) && IsLetter(left_left)) {  // WB7, 7c
      if (left == kMidLetter || IsQuoteOrMidNumLet(left)) return true;
      if (left == kDoubleQuote && own == kHebrew && left_left == kHebrew) return true;
    }
    if ((left == kMidNumber || IsQuoteOrMidNumLet(left)) && own == kNumeric && left_left == kNumeric) return true;  // WB11
    if (IsMiddle(own)) {
      const int next = word(After(text, place));
      if (left == kHebrew && own == kSingleQuote) return true;  // WB7a
      if (left == kHebrew && own == kDoubleQuote && next == kHebrew) return true;  // WB7b
      if (IsLetter(left) && IsLetter(next) && (own == kMidLetter || IsQuoteOrMidNumLet(own))) return true;  // WB6
      return left == kNumeric && next == kNumeric && (own == kMidNumber || IsQuoteOrMidNumLet(own));  // WB12
    }
    if (left == kRegional && own == kRegional) return OddBefore(text, place);  // WB15, 16
    return Touch(left, own);
  }

  // The character that counts before `place`: marks belong to the one they follow, or stand for themselves.
  static int64_t Before(const Characters& text, int64_t place) {
    int64_t at = place - 1;
    while (at > 0 && IsIgnored(WordOf(text.properties[at])) && !IsEnd(WordOf(text.properties[at - 1]))) --at;
    return at;
  }
  static int64_t After(const Characters& text, int64_t place) {
    int64_t at = place + 1;
    while (at < text.count && IsIgnored(WordOf(text.properties[at]))) ++at;
    return at;
  }
  static bool OddBefore(const Characters& text, int64_t place) {
    bool odd = false;
    for (int64_t at = Before(text, place); at >= 0 && WordOf(text.properties[at]) == kRegional; at = Before(text, at))
      odd = !odd;
    return odd;
  }

  uint8_t pairs_[32 * 32];
  const PairsAhead ahead_;
};

}  // namespace
