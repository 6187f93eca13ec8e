// Words of Chinese and Japanese, where ICU finds them: the cheapest way through a run by the words of its dictionary.
//
// Source: CjkBreakEngine::divideUpDictionaryRange in ICU's dictbe.cpp. Runs are of characters that normalisation (NFKC)
// leaves alone; those with others are ICU's own affair.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "boundaries_characters.h"
#include "boundaries_cjk_dictionary.h"

namespace {

class CjkWords {
 public:
  explicit CjkWords(const uint16_t* dictionary) : dictionary_(dictionary) {}

  explicit operator bool() const { return static_cast<bool>(dictionary_); }

  // Marks the word starts of a run of such characters, `first` .. `last`, and no other characters of it.
  void Mark(Characters& text, int64_t first, int64_t last) {
    units_.clear();
    for (int64_t place = first; place < last; ++place) units_.push_back(static_cast<uint16_t>(text.CodeAt(place)));
    const int64_t count = last - first;
    ways_.assign(count + 1, {UINT32_MAX, 0});
    ways_[0].cost = 0;
    bool after_katakana = false;
    for (int64_t at = 0; at < count; ++at) {
      WordsAt(at, count);
      const bool katakana = IsKatakana(units_[at]);
      if (katakana && !after_katakana) KatakanaAt(at, count);
      after_katakana = katakana;
    }
    for (int64_t place = first; place < last; ++place) text.marks[place] &= static_cast<uint8_t>(~kWordStart);
    for (int64_t stop = count; stop > 0; stop = ways_[stop].start) text.marks[first + ways_[stop].start] |= kWordStart;
  }

 private:
  static constexpr int kLongestWord = 20, kLongestKatakana = 20;  // in characters
  static constexpr uint32_t kUnknownCost = 255;

  struct Way {  // the best one to a place
    uint32_t cost;
    int64_t start;  // of its last word
  };

  void WordsAt(int64_t at, int64_t count) {
    const uint32_t so_far = ways_[at].cost;
    bool single = false;
    const int most = static_cast<int>(std::min<int64_t>(kLongestWord, count - at));
    dictionary_.Matches(&units_[at], most, [&](int length, int32_t cost) {
      single |= length == 1;
      Offer(at, length, so_far + static_cast<uint32_t>(cost));
    });
    if (!single) Offer(at, 1, so_far + kUnknownCost);
  }

  // A run of katakana is a word as a whole, at a cost by its length.
  void KatakanaAt(int64_t at, int64_t count) {
    static constexpr uint32_t kCosts[] = {8192, 984, 408, 240, 204, 252, 300, 372, 480};
    int length = 1;
    while (at + length < count && length < kLongestKatakana && IsKatakana(units_[at + length])) ++length;
    if (length < kLongestKatakana) Offer(at, length, ways_[at].cost + kCosts[length > 8 ? 0 : length]);
  }

  static bool IsKatakana(uint16_t unit) {
    return (unit >= 0x30A1 && unit <= 0x30FE && unit != 0x30FB) || (unit >= 0xFF66 && unit <= 0xFF9F);
  }

  void Offer(int64_t start, int length, uint32_t cost) {
    Way& way = ways_[start + length];
    if (cost < way.cost) way = {cost, start};
  }

  Dictionary dictionary_;
  std::vector<uint16_t> units_;
  std::vector<Way> ways_;
};

}  // namespace
