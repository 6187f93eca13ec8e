// The characters of one UTF-8 text. No Python, no dependencies.
#pragma once

#include <cstdint>
#include <vector>

#include "boundaries_simd.h"
#include "boundaries_text.h"

namespace {

struct Characters {
  std::vector<Property> properties;
  std::vector<int32_t> begins;  // in bytes
  std::vector<uint8_t> marks;   // of each, a sum of `Mark`
  std::vector<int32_t> events;  // places of those that may end a sentence
  const uint8_t* text = nullptr;
  int64_t count = 0, num_events = 0;
  bool dictionary = false;  // whether any is of such a script

  // As many as there are, and what is known of each. `ascii` is of the same `table`.
  void Decode(const uint8_t* bytes, int64_t num_bytes, const Property* table, const AsciiAhead& ascii) {
    text = bytes;
    Reserve(num_bytes + AsciiAhead::kWidth);
    int32_t* event = events.data();
    Property all = 0;
    int64_t place = 0;
    for (int64_t at = 0; at < num_bytes;) {
      if (at + AsciiAhead::kWidth <= num_bytes) {
        const int ahead = ascii.Decode(bytes, at, place, properties.data(), begins.data(), marks.data(), &event);
        at += ahead;
        place += ahead;
      }
      for (int number = 0; number < kOneByOne && at < num_bytes; ++number, ++place) {
        int size = 1;
        const Property found = table[bytes[at] < 0x80 ? bytes[at] : Code(bytes + at, &size)];
        all |= found;
        properties[place] = found;
        begins[place] = static_cast<int32_t>(at);
        marks[place] = IsBlank(found) ? kBlankCharacter : 0;
        *event = static_cast<int32_t>(place);
        event += IsEvent(found);
        at += size;
      }
    }
    num_events = event - events.data();
    count = place;
    dictionary = IsDictionary(all);
  }

  uint32_t CodeAt(int64_t place) const {
    int size;
    return Code(text + begins[place], &size);
  }
  bool Is(int64_t place, char ascii) const { return text[begins[place]] == static_cast<uint8_t>(ascii); }

 private:
  static constexpr int kOneByOne = 4;  // before many at once are tried again

  void Reserve(int64_t num_places) {
    if (static_cast<int64_t>(properties.size()) >= num_places) return;
    properties.resize(num_places);
    begins.resize(num_places);
    marks.resize(num_places);
    events.resize(num_places);
  }
};

}  // namespace
