// Unigram encoding of UTF-8 text in integer costs, chunk by chunk, with a cache of chunks. No Python, no dependencies.
//
// Invariant: the ids are those of SentencePiece's Viterbi (unigram_model.cc, EncodeOptimized), ties included. What makes
// them the same:
// 1. A text is cut where no piece of the vocabulary joins the two characters. Every way through the text passes such a
//    place, so the best ways of the two sides are independent.
// 2. Costs are integers (a score's steps of 1/256, sign changed): sums are exact, as SentencePiece's float32 sums are up
//    to `cost_limit`. A segment that costs more is refused: -1 instead of its number of ids.
// 3. Of equal costs the earliest start wins: starts are visited from left to right and only a lower cost replaces.
// 4. A character without a piece of its own costs `unknown_cost` and becomes its bytes.
// The cache changes speed, never ids.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "encoder_cache.h"
#include "encoder_pieces.h"
#include "encoder_text.h"

namespace {

constexpr int64_t kLongestSegment = int64_t{1} << 30;  // bytes; ends of chunks are int32
constexpr int32_t kUnreached = INT32_MAX;

class Encoder {
 public:
  Encoder(const std::vector<PieceBytes>& pieces, const int32_t* ids, const int32_t* costs, const int32_t* byte_ids,
          int32_t unknown_cost, int64_t cost_limit, int cache_bits)
      : neighbours_(CountPairs(pieces)),
        ids_(ids, ids + pieces.size()),
        costs_(costs, costs + pieces.size()),
        unknown_cost_(unknown_cost),
        cost_limit_(cost_limit),
        cache_(cache_bits) {
    std::copy(byte_ids, byte_ids + 256, byte_ids_);
    trie_.Build(pieces, 0, static_cast<int64_t>(pieces.size()), 0, Trie::kRoot);
    for (const auto& piece : pieces) AddNeighbours(piece);
    std::memset(masks_, 0, sizeof(masks_));
    for (int size = 0; size <= kKeyBytes; ++size) std::memset(&masks_[size], 0xFF, size);
  }

  // Appends the ids of a segment to `out`, which has room for one id per byte and kEntryIds more. -1: it costs too much.
  int64_t Segment(const uint8_t* text, const uint8_t* end, const uint8_t* buffer_end, int32_t* out) {
    if (end - text > kLongestSegment) return -1;
    Cut(text, end);
    Look(text, buffer_end);
    int32_t* const first = out;
    int64_t cost = 0;
    int32_t begin = 0;
    for (int64_t i = 0; i < num_chunks_; ++i) {
      cost += Chunk(text + begin, ends_[i] - begin, buffer_end, places_[i], &out);
      if (cost > cost_limit_) return -1;
      begin = ends_[i];
    }
    return out - first;
  }

 private:
  static int64_t CountPairs(const std::vector<PieceBytes>& pieces) {
    int64_t pairs = 0;
    for (const auto& piece : pieces) pairs += static_cast<int64_t>(piece.size);
    return pairs;
  }

  void AddNeighbours(const PieceBytes& piece) {
    const uint8_t* const end = piece.data + piece.size;
    const uint8_t* at = piece.data;
    uint32_t left = CodePoint(at, CharBytes(*at));
    for (at += CharBytes(*at); at < end; at += CharBytes(*at)) {
      const uint32_t right = CodePoint(at, CharBytes(*at));
      neighbours_.Add(left, right);
      left = right;
    }
  }

  // Ends of the segment's chunks into ends_.
  void Cut(const uint8_t* text, const uint8_t* end) {
    ends_.resize(end - text + 1);
    int32_t* next = ends_.data();
    const uint8_t* at = text;
    uint32_t left = CodePoint(at, CharBytes(*at));
    for (at += CharBytes(*at); at < end;) {
      uint32_t right = *at;
      *next = static_cast<int32_t>(at - text);
      if ((left | right) < 0x80) {
        next += !neighbours_.Ascii(left, right);
        ++at;
      } else {
        const int num_bytes = CharBytes(*at);
        right = CodePoint(at, num_bytes);
        next += !neighbours_.Any(left, right);
        at += num_bytes;
      }
      left = right;
    }
    *next++ = static_cast<int32_t>(end - text);
    num_chunks_ = next - ends_.data();
  }

  // Places of the chunks in the cache into places_, on the way from memory when Chunk needs them.
  void Look(const uint8_t* text, const uint8_t* buffer_end) {
    cache_.Settle();
    places_.resize(num_chunks_);
    int32_t begin = 0;
    for (int64_t i = 0; i < num_chunks_; ++i) {
      const Key key = KeyOf(text + begin, ends_[i] - begin, buffer_end);
      places_[i] = cache_.Place(key);
      cache_.Prefetch(places_[i]);
      begin = ends_[i];
    }
  }

  Key KeyOf(const uint8_t* text, int64_t size, const uint8_t* buffer_end) const {
    Key key = {};
    if (__builtin_expect(buffer_end - text >= kKeyBytes, 1)) {
      std::memcpy(&key, text, kKeyBytes);
      const Key& mask = masks_[std::min<int64_t>(size, kKeyBytes)];
      for (int i = 0; i < kKeyWords; ++i) key.words[i] &= mask.words[i];
    } else {
      std::memcpy(&key, text, std::min<int64_t>(size, kKeyBytes));
    }
    return key;
  }

  // Writes the chunk's ids, moves *out behind them, returns the cost.
  int64_t Chunk(const uint8_t* text, int64_t size, const uint8_t* buffer_end, uint32_t place, int32_t** out) {
    if (size > kKeyBytes) return Viterbi(text, size, out);
    const Key key = KeyOf(text, size, buffer_end);
    if (const Entry* const entry = cache_.Find(place, key, size)) {
      std::memcpy(*out, entry->ids, sizeof(entry->ids));
      *out += entry->num_ids;
      return entry->cost;
    }
    cache_.Missed();
    int32_t* const first = *out;
    const int64_t cost = Viterbi(text, size, out);
    if (*out - first <= kEntryIds && cost <= cost_limit_) Fill(cache_.Room(place), key, size, cost, first, *out);
    return cost;
  }

  static void Fill(Entry* entry, const Key& key, int64_t size, int64_t cost, const int32_t* ids, const int32_t* end) {
    entry->key = key;
    std::copy(ids, end, entry->ids);
    entry->cost = static_cast<int32_t>(cost);
    entry->key_bytes = static_cast<uint8_t>(size);
    entry->num_ids = static_cast<uint8_t>(end - ids);
  }

  int64_t Viterbi(const uint8_t* text, int64_t size, int32_t** out) {
    best_.assign(size + 1, {kUnreached, 0, kNoPiece});
    best_[0].cost = 0;
    for (int32_t start = 0; start < size; start += CharBytes(text[start])) {
      const int32_t so_far = best_[start].cost;
      if (so_far > cost_limit_) return so_far;  // refused whatever follows
      const int32_t next = start + CharBytes(text[start]);
      bool next_has_piece = false;
      int32_t node = Trie::kRoot;
      for (int32_t stop = start; stop < size;) {
        node = trie_.Child(node, text[stop++]);
        if (node < 0) break;
        const int32_t piece = trie_.Piece(node);
        if (piece == kNoPiece) continue;
        Offer(stop, so_far + costs_[piece], start, piece);
        next_has_piece |= stop == next;
      }
      if (!next_has_piece) Offer(next, so_far + unknown_cost_, start, kNoPiece);
    }
    Emit(text, static_cast<int32_t>(size), out);
    return best_[size].cost;
  }

  void Offer(int32_t stop, int32_t cost, int32_t start, int32_t piece) {
    if (cost < best_[stop].cost) best_[stop] = {cost, start, piece};
  }

  void Emit(const uint8_t* text, int32_t size, int32_t** out) {
    int32_t* const first = *out;
    for (int32_t stop = size; stop > 0;) {
      const Step& step = best_[stop];
      if (step.piece != kNoPiece) *(*out)++ = ids_[step.piece];
      else for (int32_t at = stop; at > step.start;) *(*out)++ = byte_ids_[text[--at]];
      stop = step.start;
    }
    std::reverse(first, *out);
  }

  struct Step {  // the last piece of the best way to a place
    int32_t cost, start, piece;
  };

  Trie trie_;
  Neighbours neighbours_;
  std::vector<int32_t> ids_, costs_;
  int32_t byte_ids_[256];
  int32_t unknown_cost_;
  int64_t cost_limit_;  // below 2**24, as every single cost: int32 holds their sums
  Cache cache_;
  Key masks_[kKeyBytes + 1];

  // Work space of one segment.
  std::vector<int32_t> ends_;
  int64_t num_chunks_ = 0;
  std::vector<uint32_t> places_;
  std::vector<Step> best_;
};

}  // namespace

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

// `bytes[ends[i-1], ends[i])` is piece i, valid UTF-8; no two are equal. Null: no memory.
EXPORTED void* encoder_new(const uint8_t* bytes, const int64_t* ends, const int32_t* ids, const int32_t* costs,
                  int64_t num_pieces, const int32_t* byte_ids, int32_t unknown_cost, int64_t cost_limit,
                  int32_t cache_bits) try {
  std::vector<PieceBytes> pieces;
  for (int64_t i = 0; i < num_pieces; ++i) {
    const int64_t begin = i ? ends[i - 1] : 0;
    pieces.push_back({bytes + begin, static_cast<size_t>(ends[i] - begin), static_cast<int32_t>(i)});
  }
  std::sort(pieces.begin(), pieces.end());
  return new Encoder(pieces, ids, costs, byte_ids, unknown_cost, cost_limit, cache_bits);
} catch (const std::bad_alloc&) {
  return nullptr;
}

EXPORTED void encoder_delete(void* encoder) { delete static_cast<Encoder*>(encoder); }

// The ids of `text` into `out`, which has room for one id per byte and 6 more; returns how many. A segment that was
// refused has none; `refused` gets three numbers for it: where it begins and ends in the text, and how many ids stand
// before it (room: three per 4096 bytes begun). -1: no memory. One call at a time for an encoder.
EXPORTED int64_t encoder_encode(void* encoder, const uint8_t* text, int64_t num_bytes, int32_t* out, int64_t* refused,
                       int64_t* num_refused) try {
  const uint8_t* const end = text + num_bytes;
  int64_t total = 0;
  *num_refused = 0;
  for (const uint8_t* begin = text; begin < end;) {
    const uint8_t* const stop = SegmentRule(begin, end).Stop();
    const int64_t num_ids = static_cast<Encoder*>(encoder)->Segment(begin, stop, end, out + total);
    if (num_ids < 0) {
      int64_t* const entry = refused + 3 * (*num_refused)++;
      entry[0] = begin - text, entry[1] = stop - text, entry[2] = total;
    } else {
      total += num_ids;
    }
    begin = stop;
  }
  return total;
} catch (const std::bad_alloc&) {
  return -1;
}

// The same for many texts, one after another, which end at `ends`; the ids of text i end at `id_ends[i]`. -1: no memory;
// -2: a segment was refused.
EXPORTED int64_t encoder_encode_texts(void* encoder, const uint8_t* texts, const int64_t* ends, int64_t num_texts,
                                      int32_t* out, int64_t* id_ends) try {
  int64_t total = 0, begin = 0;
  for (int64_t i = 0; i < num_texts; id_ends[i] = total, begin = ends[i++]) {
    const uint8_t* const end = texts + ends[i];
    for (const uint8_t* at = texts + begin; at < end;) {
      const uint8_t* const stop = SegmentRule(at, end).Stop();
      const int64_t num_ids = static_cast<Encoder*>(encoder)->Segment(at, stop, end, out + total);
      if (num_ids < 0) return -2;
      total += num_ids;
      at = stop;
    }
  }
  return total;
} catch (const std::bad_alloc&) {
  return -1;
}

// Where the encoding segments of `text` end, into `ends` (room: one per 4096 bytes begun); returns how many there are.
EXPORTED int64_t encoder_segments(const uint8_t* text, int64_t num_bytes, int64_t* ends) {
  int64_t count = 0;
  for (const uint8_t* begin = text; begin < text + num_bytes; ++count) {
    begin = SegmentRule(begin, text + num_bytes).Stop();
    ends[count] = begin - text;
  }
  return count;
}
}
