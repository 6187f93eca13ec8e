// The ids of chunks seen before. Direct mapped: a chunk has one place, the last one there stays.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

constexpr int kKeyWords = 4;
constexpr int kKeyBytes = 8 * kKeyWords;
constexpr int kEntryIds = 6;  // _ROOM_IDS in encoder.py

struct Key {  // a chunk's bytes, then zeros
  uint64_t words[kKeyWords];
};

struct Entry {  // one cache line
  Key key;
  int32_t ids[kEntryIds];
  int32_t cost;
  uint8_t key_bytes;  // 0: empty
  uint8_t num_ids;
};
static_assert(sizeof(Entry) == 64, "an entry is one cache line");

// The cache's memory: huge pages where the kernel has them, since chunks are looked up all over it.
class Cache {
 public:
  explicit Cache(int bits) : entries_(Allocate(sizeof(Entry) << bits)) {}
  ~Cache() { std::free(entries_); }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;
  Entry& operator[](uint32_t place) { return entries_[place]; }

 private:
  static Entry* Allocate(size_t num_bytes) {
    constexpr size_t kHugePage = size_t{1} << 21;
    const size_t rounded = (num_bytes + kHugePage - 1) / kHugePage * kHugePage;
    void* const memory = std::aligned_alloc(kHugePage, rounded);
    if (!memory) throw std::bad_alloc();
    madvise(memory, rounded, MADV_HUGEPAGE);
    std::memset(memory, 0, num_bytes);
    return static_cast<Entry*>(memory);
  }
  Entry* const entries_;
};

}  // namespace
