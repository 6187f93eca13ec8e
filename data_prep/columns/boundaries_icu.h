// ICU's own word boundaries, for scripts whose words a dictionary finds. Its functions come from the library in use.
#pragma once

#include <cstdint>
#include <vector>

#include "boundaries_characters.h"

namespace {

// `iterator` is an open UBreakIterator; the functions are ubrk_setText and ubrk_next of the same library (ubrk.h).
struct IcuWords {
  void* iterator;
  void (*set_text)(void* iterator, const char16_t* text, int32_t length, int32_t* error);
  int32_t (*next)(void* iterator);
  std::vector<char16_t> units = {};
  std::vector<int32_t> places = {};  // of each unit, the character it begins

  // Marks the word starts among the characters first .. last. False: ICU refuses.
  bool Mark(Characters& text, int64_t first, int64_t last) {
    units.clear();
    places.clear();
    for (int64_t place = first; place < last; ++place) Append(text.CodeAt(place), static_cast<int32_t>(place));
    int32_t error = 0;
    set_text(iterator, units.data(), static_cast<int32_t>(units.size()), &error);
    if (error > 0) return false;
    text.marks[first] |= kWordStart;
    for (int32_t at = next(iterator); at >= 0 && at < static_cast<int32_t>(units.size()); at = next(iterator))
      text.marks[places[at]] |= kWordStart;
    return true;
  }

 private:
  void Append(uint32_t code, int32_t place) {
    places.push_back(place);
    if (code < 0x10000) {
      units.push_back(static_cast<char16_t>(code));
      return;
    }
    places.push_back(place);
    units.push_back(static_cast<char16_t>(0xD800 + ((code - 0x10000) >> 10)));
    units.push_back(static_cast<char16_t>(0xDC00 + ((code - 0x10000) & 0x3FF)));
  }
};

}  // namespace
