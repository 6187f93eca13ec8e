// Where words and sentences begin, in texts and in their tokens. Texts are UTF-8, one after another, each for itself.
//
// Invariant: the places are those of ICU for the properties given, and of `sents.py` for running text.

#include <cstdint>
#include <cstring>
#include <new>
#include <numeric>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "boundaries_characters.h"
#include "boundaries_cjk.h"
#include "boundaries_icu.h"
#include "boundaries_sentences.h"
#include "boundaries_simd.h"
#include "boundaries_text.h"
#include "boundaries_tokens.h"
#include "boundaries_words.h"

namespace {

enum WordKind : int32_t { kNoWords = 0, kUnicodeWords = 1, kRunsOfSpace = 2 };

class Finder {
 public:
  Finder(const Property* table, Sentences sentences, IcuWords icu, CjkWords cjk)
      : table_(WithEvents(table)), ascii_(table_.data()), sentences_(std::move(sentences)), icu_(std::move(icu)),
        cjk_(std::move(cjk)) {}

  // Marks on the bytes of a text. False: ICU refuses it.
  bool Mark(const uint8_t* text, int64_t num_bytes, int32_t words, bool sents, uint8_t* marks) {
    characters_.Decode(text, num_bytes, table_.data(), ascii_);
    if (sents) sentences_.Mark(characters_);
    if (words == kRunsOfSpace) MarkRunsOfSpace();
    if (words == kUnicodeWords && !MarkWords()) return false;
    if (characters_.count == num_bytes) {
      std::memcpy(marks, characters_.marks.data(), num_bytes);
      return true;
    }
    int64_t place = 0;
    const int64_t at = SpreadAhead(text, num_bytes, characters_.marks.data(), marks, &place);
    std::memset(marks + at, kContinuation, num_bytes - at);
    for (; place < characters_.count; ++place) marks[characters_.begins[place]] = characters_.marks[place];
    return true;
  }

 private:
  static std::vector<Property> WithEvents(const Property* table) {
    std::vector<Property> found(table, table + 0x110000);
    for (Property& property : found) property = WithEvent(property);
    return found;
  }

  void MarkRunsOfSpace() {
    for (int64_t place = 0; place < characters_.count; ++place)
      if (!place || (characters_.marks[place] ^ characters_.marks[place - 1]) & kBlankCharacter)
        characters_.marks[place] |= kWordStart;
  }

  // Line by line where a dictionary is needed.
  bool MarkWords() {
    Characters& text = characters_;
    if (!text.dictionary) {
      if (text.count) words_.Mark(text, 0, text.count);
      return true;
    }
    for (int64_t first = 0; first < text.count;) {
      bool dictionary = false, plain = static_cast<bool>(cjk_);
      const int64_t last = LineEnd(first, &dictionary, &plain);
      if (!dictionary || plain) words_.Mark(text, first, last);
      else if (!icu_.Mark(text, first, last)) return false;
      if (dictionary && plain) MarkCjk(first, last);
      first = last;
    }
    return true;
  }

  // Where the line that begins at `first` ends; whether any character needs a dictionary, and cleared if one of them is not
  // for `cjk_` or touches what it may belong to.
  int64_t LineEnd(int64_t first, bool* dictionary, bool* plain) const {
    const Characters& text = characters_;
    Property before = 0;
    for (int64_t place = first; place < text.count; ++place) {
      const Property found = text.properties[place];
      const int own = WordOf(found);
      if (IsDictionary(found)) {
        *dictionary = true;
        *plain &= IsPlainCjk(found) && !Words::Clings(WordOf(before));
      } else {
        *plain &= !(IsPlainCjk(before) && Words::Clings(own));
        const bool between = own == kWordCr && place + 1 < text.count && WordOf(text.properties[place + 1]) == kWordLf;
        if (Words::IsEnd(own) && !between) return place + 1;
      }
      before = found;
    }
    return text.count;
  }

  void MarkCjk(int64_t first, int64_t last) {
    const auto is_plain = [&](int64_t place) { return IsPlainCjk(characters_.properties[place]); };
    for (int64_t place = first; place < last; ++place) {
      if (!is_plain(place)) continue;
      const int64_t begin = place;
      while (place < last && is_plain(place)) ++place;
      cjk_.Mark(characters_, begin, place);
    }
  }

  const std::vector<Property> table_;
  const AsciiAhead ascii_;
  const Words words_;
  Sentences sentences_;
  IcuWords icu_;
  CjkWords cjk_;
  Characters characters_;
};

}  // namespace

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

// `table`: a property for each code point. `running_text`: the rules of `sents.py`, with its `abbreviations`, separated
// by spaces, the longest of which has `longest` characters. ICU's iterator and functions: see IcuWords. `dictionary`: ICU's of
// Chinese and Japanese (see Dictionary), or null, and all their words are asked of ICU. Null: no memory.
EXPORTED void* boundaries_new(const uint16_t* table, int32_t running_text, const char* abbreviations, int64_t longest,
                              void* iterator, void (*set_text)(void*, const char16_t*, int32_t, int32_t*),
                              int32_t (*next)(void*), const uint16_t* dictionary) try {
  std::unordered_set<std::string> words;
  for (const char* at = abbreviations; *at;) {
    const char* const end = at + std::strcspn(at, " ");
    words.emplace(at, end);
    at = *end ? end + 1 : end;
  }
  return new Finder(table, Sentences(running_text != 0, std::move(words), longest), IcuWords{iterator, set_text, next},
                    CjkWords(dictionary));
} catch (const std::bad_alloc&) {
  return nullptr;
}

EXPORTED void boundaries_delete(void* finder) { delete static_cast<Finder*>(finder); }

// Marks for each byte of the texts, which end at `ends`. Returns 0, or -1: no memory, or ICU refuses. One call at a time.
EXPORTED int64_t boundaries_mark(void* finder, const uint8_t* texts, const int64_t* ends, int64_t num_texts, int32_t words,
                                 int32_t sents, uint8_t* marks) try {
  for (int64_t i = 0, begin = 0; i < num_texts; begin = ends[i++])
    if (!static_cast<Finder*>(finder)->Mark(texts + begin, ends[i] - begin, words, sents, marks + begin)) return -1;
  return 0;
} catch (const std::bad_alloc&) {
  return -1;
}

// `words` and `sents`, [tokens]: which tokens begin one. Tokens of text i end at `token_ends[i]`; `piece_bytes` says how
// many bytes a token id stands for. Returns how many texts the tokens of which do not add up to them, before anything else.
// Behind the last of the `marks` is room to read. -1: no memory.
EXPORTED int64_t boundaries_tokens(const uint8_t* texts, const uint8_t* marks, const int64_t* ends, int64_t num_texts,
                                   const int32_t* token_ids, const int64_t* token_ends, const int32_t* piece_bytes,
                                   uint8_t* words, uint8_t* sents) try {
  const int64_t num_tokens = num_texts ? token_ends[num_texts - 1] : 0;
  std::vector<int32_t> lengths(num_tokens);
  for (int64_t token = 0; token < num_tokens; ++token) lengths[token] = piece_bytes[token_ids[token]];
  int64_t unfit = 0;
  for (int64_t i = 0, begin = 0, first = 0; i < num_texts; begin = ends[i], first = token_ends[i++]) {
    const int64_t sum = std::accumulate(&lengths[first], &lengths[token_ends[i]], int64_t{0});
    unfit += sum != ends[i] - begin || ends[i] == begin;
  }
  if (unfit) return unfit;
  for (int64_t i = 0, begin = 0, first = 0; i < num_texts; begin = ends[i], first = token_ends[i++])
    Anchors(texts + begin, marks + begin, ends[i] - begin)
        .Write(token_ends[i] - first, &lengths[first], words + first, sents + first);
  return 0;
} catch (const std::bad_alloc&) {
  return -1;
}
}
