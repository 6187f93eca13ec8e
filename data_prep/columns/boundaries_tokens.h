// From marks on a text's bytes to marks on its tokens; `characters.py` says what a token's anchor is.
#pragma once

#include <algorithm>
#include <cstdint>

#include "boundaries_text.h"

namespace {

// One text of `num_bytes` with its `marks`, and its tokens in order.
class Anchors {
 public:
  Anchors(const uint8_t* text, const uint8_t* marks, int64_t num_bytes)
      : text_(text), marks_(marks), num_bytes_(num_bytes) {}

  // `words` and `sents`, each [num_tokens]: which tokens begin one. `lengths`: bytes of each token.
  template <typename Length>
  void Write(int64_t num_tokens, Length length, uint8_t* words, uint8_t* sents) const {
    int64_t begin = 0, word_place = 0, sentence_place = 0;  // the places: anchors of the token before
    for (int64_t token = 0; token < num_tokens; ++token) {
      const int64_t end = begin + length(token);
      const int64_t place = CharacterOf(std::min(begin, num_bytes_ - 1));
      int64_t anchor = place;
      bool blank = false;
      if (marks_[place] & kBlankCharacter) {
        const int64_t stop = token + 1 < num_tokens ? CharacterOf(std::min(end, num_bytes_ - 1)) : num_bytes_;
        anchor = Inked(place, stop, &blank);
      }
      const int64_t sentence = blank ? sentence_place : std::max(sentence_place, anchor);
      const uint8_t passed = Between(word_place, anchor);
      const bool same = word_place == sentence_place && anchor == sentence;
      words[token] = (passed & kWordStart) != 0;
      sents[token] = ((same ? passed : Between(sentence_place, sentence)) & kSentenceStart) != 0;
      word_place = anchor;
      sentence_place = sentence;
      begin = end;
    }
    if (num_tokens) words[0] = sents[0] = 1;
  }

 private:
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

  // All marks after one place, up to another.
  uint8_t Between(int64_t after, int64_t place) const {
    uint8_t all = 0;
    for (int64_t at = after + 1; at <= place; ++at) all |= marks_[at];
    return all;
  }

  const uint8_t* const text_;
  const uint8_t* const marks_;
  const int64_t num_bytes_;
};

}  // namespace
