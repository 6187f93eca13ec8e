// A text as characters: what the rules ask about each, and where it begins. No Python, no dependencies.
#pragma once

#include <cstdint>
#include <vector>

namespace {

// What is known of a character: 16 bits, made by properties.py. Classes are numbered as ICU does (uchar.h).
using Property = uint16_t;

enum WordClass : uint8_t {
  kWordOther = 0, kLetter = 1, kFormat = 2, kKatakana = 3, kMidLetter = 4, kMidNumber = 5, kNumeric = 6,
  kExtendNumLet = 7, kWordCr = 8, kExtend = 9, kWordLf = 10, kMidNumLet = 11, kNewline = 12, kRegional = 13,
  kHebrew = 14, kSingleQuote = 15, kDoubleQuote = 16, kJoiner = 21, kSpace = 22,
};
enum SentenceClass : uint8_t {
  kOther = 0, kATerm = 1, kClose = 2, kSentenceFormat = 3, kLower = 4, kSentenceNumeric = 5, kOLetter = 6, kSep = 7,
  kSp = 8, kSTerm = 9, kUpper = 10, kCr = 11, kSentenceExtend = 12, kLf = 13, kSContinue = 14,
};

inline int WordOf(Property p) { return p & 31; }
inline int SentenceOf(Property p) { return p >> 5 & 15; }
constexpr int kBlankBit = 9, kEventBit = 14;
inline bool IsBlank(Property p) { return p >> kBlankBit & 1; }  // str.isspace()
inline bool IsAlnum(Property p) { return p >> 10 & 1; }      // str.isalnum()
inline bool IsUpper(Property p) { return p >> 11 & 1; }      // str.isupper()
inline bool IsPictograph(Property p) { return p >> 12 & 1; }
inline bool IsDictionary(Property p) { return p >> 13 & 1; }  // words of its script are found by a dictionary
inline bool IsPlainCjk(Property p) { return p >> 15 & 1; }    // and CjkWords knows that dictionary
inline bool IsEvent(Property p) { return p >> kEventBit & 1; }  // may end a sentence: set by WithEvent, below

// The property of a character of another sentence class.
inline Property WithSentence(Property p, SentenceClass c) {
  return static_cast<Property>((p & ~(15u << 5)) | static_cast<unsigned>(c) << 5);
}
// The property, with IsEvent for full stops and the ends of lines.
inline Property WithEvent(Property p) {
  constexpr unsigned kEvents = 1u << kATerm | 1u << kSTerm | 1u << kSep | 1u << kCr | 1u << kLf;
  return static_cast<Property>(p | (kEvents >> SentenceOf(p) & 1u) << kEventBit);
}

enum Mark : uint8_t { kWordStart = 1, kSentenceStart = 2, kBlankCharacter = 4, kContinuation = 8 };

// The character at `at` in valid UTF-8, and its bytes.
inline uint32_t Code(const uint8_t* at, int* size) {
  const uint32_t first = *at;
  if (first < 0x80) return *size = 1, first;
  if (first < 0xE0) return *size = 2, (first & 31u) << 6 | (at[1] & 63u);
  if (first < 0xF0) return *size = 3, (first & 15u) << 12 | (at[1] & 63u) << 6 | (at[2] & 63u);
  return *size = 4, (first & 7u) << 18 | (at[1] & 63u) << 12 | (at[2] & 63u) << 6 | (at[3] & 63u);
}

}  // namespace
