// Sentence boundaries: rules SB3 to SB11 of UAX #29, and those of `sents.py` for running text.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>

#include "boundaries_characters.h"

namespace {

class Sentences {
 public:
  // `abbreviations`: words after which, and a dot, no sentence ends. None: the rules of Unicode alone (`unicode`).
  Sentences(bool running_text, std::unordered_set<std::string> abbreviations, int64_t longest)
      : running_text_(running_text), abbreviations_(std::move(abbreviations)), longest_(longest) {}

  // Marks every character at which a sentence begins.
  void Mark(Characters& text) {
    if (!text.count) return;
    text.marks[0] |= kSentenceStart;
    properties_ = text.properties.data();
    count_ = text.count;
    if (running_text_) Unwrap(text);
    for (int64_t event = 0, place = 0; event < text.num_events; ++event) {
      if (text.events[event] < place) continue;  // seen on the way from another
      place = text.events[event];
      const int found = Class(place);
      if (found == kSp) continue;
      is_start_ = true;
      if (IsTerm(found)) place = AfterTerm(place);
      else place += found == kCr && Class(place + 1) == kLf ? 2 : 1;  // SB3, 4
      if (place < text.count && is_start_ && !(running_text_ && AfterAbbreviation(text, place)))
        text.marks[place] |= kSentenceStart;
    }
  }

 private:
  static bool IsEnd(int c) { return c == kSep || c == kCr || c == kLf; }
  static bool IsTerm(int c) { return c == kATerm || c == kSTerm; }
  static bool IsIgnored(int c) { return c == kSentenceExtend || c == kSentenceFormat; }
  int Class(int64_t place) const { return place < count_ ? SentenceOf(properties_[place]) : -1; }

  // A line's end before a letter or a digit is a space, and so is a CR before a LF; not after an empty line.
  void Unwrap(Characters& text) {
    const auto set_space = [&](int64_t place) { text.properties[place] = WithSentence(text.properties[place], kSp); };
    for (int64_t event = 0; event < text.num_events; ++event) {
      const int64_t place = text.events[event];
      if (Class(place) != kLf) continue;
      if (place && text.Is(place - 1, '\r')) set_space(place - 1);
      const bool after_end = place && text.Is(place - 1, '\n');
      if (!after_end && place + 1 < text.count && IsAlnum(text.properties[place + 1])) set_space(place);
    }
  }

  // From a full stop on: the place where what follows begins, and in `is_start_` whether a sentence does.
  int64_t AfterTerm(int64_t place) {
    const int term = Class(place);
    const int before = term == kATerm ? LetterBefore(place) : -1;
    int64_t at = Skip(place + 1);
    is_start_ = false;
    if (term == kATerm) {
      if (Class(at) == kSentenceNumeric) return at;                                             // SB6
      if ((before == kUpper || before == kLower) && Class(at) == kUpper) return at;              // SB7
    }
    while (Class(at) == kClose) at = Skip(at + 1);  // SB9
    while (Class(at) == kSp) at = Skip(at + 1);     // SB10
    const int next = Class(at);
    if (next < 0 || next == kSContinue || IsTerm(next)) return at;  // SB8a
    if (IsEnd(next)) return at;                                     // SB9, 10; what ends the line is SB4's
    is_start_ = !(term == kATerm && LowerFollows(at));              // SB8, 11
    return at;
  }

  // SB5: marks belong to what they follow.
  int64_t Skip(int64_t place) const {
    while (IsIgnored(Class(place))) ++place;
    return place;
  }
  int LetterBefore(int64_t place) const {
    int64_t at = place - 1;
    while (at > 0 && IsIgnored(Class(at)) && !IsEnd(Class(at - 1))) --at;
    return at < 0 ? -1 : Class(at);
  }
  bool LowerFollows(int64_t place) const {
    for (;; ++place) {
      const int c = Class(place);
      if (c == kLower) return true;
      if (c < 0 || c == kOLetter || c == kUpper || IsEnd(c) || IsTerm(c)) return false;
    }
  }

  // Whether before `place` there is one character, and before that a dot after an initial or an abbreviation.
  bool AfterAbbreviation(const Characters& text, int64_t place) const {
    const int64_t dot = place - 2;
    if (dot < 1 || !text.Is(dot, '.')) return false;
    int64_t first = dot;
    while (first > 0 && dot - first <= longest_ && IsInWord(text, first - 1)) --first;
    if (first == dot || dot - first > longest_) return false;
    if (dot - first == 1 && IsUpper(text.properties[first]) && !text.Is(first, 'I')) return true;
    const uint8_t* const word = text.text + text.begins[first];
    return abbreviations_.count(std::string(word, text.text + text.begins[dot]));
  }
  static bool IsInWord(const Characters& text, int64_t place) {
    return IsAlnum(text.properties[place]) || text.Is(place, '_');
  }

  const bool running_text_;
  const std::unordered_set<std::string> abbreviations_;
  const int64_t longest_;  // in characters
  const Property* properties_ = nullptr;  // of the text at hand
  int64_t count_ = 0;
  bool is_start_ = false;  // what AfterTerm found
};

}  // namespace
