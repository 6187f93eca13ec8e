// From marks on a text's bytes to marks on its tokens; `characters.py` says what a token's anchor is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "boundaries_text.h"

namespace {

constexpr int64_t kMarksRoom = 8;  // bytes behind the last mark that may be read (_ROOM_MARKS in boundaries.py)

// One text of `num_bytes` with its `marks`, and its tokens in order.
class Anchors {
 public:
  Anchors(const uint8_t* text, const uint8_t* marks, int64_t num_bytes)
      : text_(text), marks_(marks), num_bytes_(num_bytes) {}

  // `words` and `sents`, each [num_tokens]: which tokens begin one. `lengths`: bytes of each token.
  void Write(int64_t num_tokens, const int32_t* lengths, uint8_t* words, uint8_t* sents) const {
    int64_t begin = 0, word_place = 0, sentence_place = 0;  // the places: anchors of the token before
    for (int64_t token = 0; token < num_tokens; ++token) {
      const int64_t end = begin + lengths[token];
      const int64_t place = CharacterOf(std::min(begin, num_bytes_ - 1));
      // Most often a token is a word with the space before it, or has no space.
      const bool space = marks_[place] & kBlankCharacter;
      const bool spaced = space & !(marks_[place + 1] & (kBlankCharacter | kContinuation)) & (place + 1 < end) &
                          (end < num_bytes_) & !(marks_[end] & kContinuation);
      int64_t anchor = place + spaced;
      bool blank = false;
      if (__builtin_expect(space & !spaced, 0)) {
        const int64_t stop = token + 1 < num_tokens ? CharacterOf(std::min(end, num_bytes_ - 1)) : num_bytes_;
        anchor = Inked(place, stop, &blank);
      }
      const int64_t sentence = blank ? sentence_place : std::max(sentence_place, anchor);
      const uint64_t passed = Between(word_place, anchor);
      const bool same = word_place == sentence_place && anchor == sentence;
      words[token] = (passed & kWordStart * kEach) != 0;
      sents[token] = ((same ? passed : Between(sentence_place, sentence)) & kSentenceStart * kEach) != 0;
      word_place = anchor;
      sentence_place = sentence;
      begin = end;
    }
    if (num_tokens) words[0] = sents[0] = 1;
  }

 private:
  static constexpr uint64_t kEach = 0x0101010101010101;

  int64_t CharacterOf(int64_t byte) const {
    while (marks_[byte] & kContinuation) --byte;
    return byte;
  }
  int64_t Next(int64_t place) const {
    ++place;
    while (place < num_bytes_ && marks_[place] & kContinuation) ++place;
    return place;
  }

  // The first character from `place` to `stop` that is no white space. A single space before a word belongs to it; other
  // white space alone is `blank` and stays where it is.
  int64_t Inked(int64_t place, int64_t stop, bool* blank) const {
    int64_t found = Next(place);
    while (found < stop && marks_[found] & kBlankCharacter) found = Next(found);
    if (found < stop) return found;
    const bool single = found == stop && found == Next(place) && found < num_bytes_ && text_[place] == ' ' &&
                        !(marks_[found] & kBlankCharacter);
    if (single) return found;
    *blank = true;
    return place;
  }

  // The marks after one place, up to another, eight at a time, one upon another.
  uint64_t Between(int64_t after, int64_t place) const {
    uint64_t all = 0;
    const uint8_t* at = marks_ + after + 1;
    int64_t count = place - after;
    for (; count > 8; count -= 8, at += 8) all |= Eight(at);
    return count > 0 ? all | Eight(at) << 8 * (8 - count) : all;
  }
  static uint64_t Eight(const uint8_t* at) {
    uint64_t marks;
    std::memcpy(&marks, at, sizeof(marks));
    return marks;
  }

  const uint8_t* const text_;
  const uint8_t* const marks_;
  const int64_t num_bytes_;
};

}  // namespace
