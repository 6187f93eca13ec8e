// The ids of chunks seen before. A chunk has one of two places side by side, and the two used last stay there. It grows
// while chunks that it does not hold are many, up to a limit.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace {

constexpr int kKeyWords = 4;
constexpr int kKeyBytes = 8 * kKeyWords;
constexpr int kEntryIds = 6;  // _ROOM_IDS in encoder.py

struct Key {  // a chunk's bytes, then zeros
  uint64_t words[kKeyWords];
};

struct Entry {  // one cache line; empty where it has no bytes
  Key key;
  int32_t ids[kEntryIds];
  int32_t cost;
  uint8_t key_bytes;
  uint8_t num_ids;

  bool Is(const Key& other, int64_t num_bytes) const {
    uint64_t difference = key_bytes ^ static_cast<uint64_t>(num_bytes);
    for (int i = 0; i < kKeyWords; ++i) difference |= key.words[i] ^ other.words[i];
    return difference == 0;
  }
};
static_assert(sizeof(Entry) == 64, "an entry is one cache line");

// Its memory are huge pages where the kernel has them, since chunks are looked up all over it.
class Cache {
 public:
  explicit Cache(int most_bits)
      : bits_(std::min(kFirstBits, most_bits)), most_bits_(most_bits), entries_(Allocate(sizeof(Entry) << bits_)) {}
  ~Cache() { std::free(entries_); }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // The entry of a chunk at the place of its key; null: it is not there.
  const Entry* Find(uint32_t place, const Key& key, int64_t size) {
    Entry* const pair = entries_ + place;
    if (__builtin_expect(pair[0].Is(key, size), 1)) return pair;
    if (!pair[1].Is(key, size)) return nullptr;
    std::swap(pair[0], pair[1]);
    return pair;
  }

  // Room for another chunk there; the one used longer ago is gone.
  Entry* Room(uint32_t place) {
    Entry* const pair = entries_ + place;
    pair[1] = pair[0];
    return pair;
  }

  void Prefetch(uint32_t place) const {
    __builtin_prefetch(entries_ + place);
    __builtin_prefetch(entries_ + place + 1);
  }

  // The first of the key's two entries.
  uint32_t Place(const Key& key) const {
    const uint64_t* words = key.words;
    uint64_t hash = (words[0] ^ words[1] * 0x9E3779B97F4A7C15u) + (words[2] ^ words[3] * 0xC2B2AE3D27D4EB4Fu);
    hash = (hash ^ hash >> 29) * 0xBF58476D1CE4E5B9u;
    return static_cast<uint32_t>(hash >> (64 - bits_)) & ~1u;
  }

  void Missed() { ++misses_; }

  // Before places are asked for: four times as large, after as many misses as it has entries.
  void Settle() {
    if (misses_ <= int64_t{1} << bits_ || bits_ == most_bits_) return;
    Entry* const before = entries_;
    const Entry* const end = before + (int64_t{1} << bits_);
    bits_ = std::min(bits_ + 2, most_bits_);
    entries_ = Allocate(sizeof(Entry) << bits_);
    for (const Entry* entry = before; entry < end; ++entry)
      if (entry->key_bytes) *Room(Place(entry->key)) = *entry;
    std::free(before);
    misses_ = 0;
  }

 private:
  static constexpr int kFirstBits = 15;

  static Entry* Allocate(size_t num_bytes) {
    constexpr size_t kHugePage = size_t{1} << 21;
    const size_t rounded = (num_bytes + kHugePage - 1) / kHugePage * kHugePage;
    void* const memory = std::aligned_alloc(kHugePage, rounded);
    if (!memory) throw std::bad_alloc();
    madvise(memory, rounded, MADV_HUGEPAGE);
    std::memset(memory, 0, num_bytes);
    return static_cast<Entry*>(memory);
  }
  int bits_, most_bits_;
  int64_t misses_ = 0;
  Entry* entries_;
};

}  // namespace
