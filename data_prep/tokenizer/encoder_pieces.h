// The pieces of a vocabulary: found along a text (Trie), and which characters they join (Neighbours).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

constexpr int32_t kNoPiece = -1;

struct PieceBytes {
  const uint8_t* data;
  size_t size;
  int32_t index;
  bool operator<(const PieceBytes& other) const {
    return std::lexicographical_compare(data, data + size, other.data, other.data + other.size);
  }
};

// Pieces by their bytes: a double array. The child of `node` along `byte` is `base + byte` where `check` says so.
class Trie {
 public:
  static constexpr int32_t kRoot = 0;

  Trie() : nodes_(1 + 256) {}

  // `pieces[first, last)` are sorted and share their first `depth` bytes, those of `node`.
  void Build(const std::vector<PieceBytes>& pieces, int64_t first, int64_t last, size_t depth, int32_t node) {
    if (first < last && pieces[first].size == depth) nodes_[node].piece = pieces[first++].index;
    if (first == last) return;
    std::vector<std::pair<uint8_t, int64_t>> children;  // byte, where its pieces begin
    for (int64_t at = first; at < last; ++at) {
      const uint8_t byte = pieces[at].data[depth];
      if (children.empty() || children.back().first != byte) children.emplace_back(byte, at);
    }
    const int32_t base = Place(children);
    nodes_[node].base = base;
    for (const auto& child : children) nodes_[base + child.first].check = node;
    for (size_t i = 0; i < children.size(); ++i) {
      const int64_t stop = i + 1 < children.size() ? children[i + 1].second : last;
      Build(pieces, children[i].second, stop, depth + 1, base + children[i].first);
    }
  }

  int32_t Child(int32_t node, uint8_t byte) const {
    const int32_t child = nodes_[node].base + byte;
    return nodes_[child].check == node ? child : -1;
  }
  int32_t Piece(int32_t node) const { return nodes_[node].piece; }

 private:
  struct Node {
    int32_t base = 1, check = -1, piece = kNoPiece;
  };
  static constexpr int kTries = 32;  // after so many places in vain what lies before them is given up

  int32_t Place(const std::vector<std::pair<uint8_t, int64_t>>& children) {
    const int32_t first_byte = children[0].first;
    int32_t slot = std::max(free_, first_byte + 1);
    for (int tries = 1;; ++slot, ++tries) {
      Grow(slot + 512);
      const int32_t base = slot - first_byte;
      const bool fits = std::all_of(children.begin(), children.end(),
                                    [&](const auto& child) { return nodes_[base + child.first].check == -1; });
      if (tries % kTries == 0) free_ = slot;
      if (fits) return base;
    }
  }
  void Grow(size_t size) {
    if (nodes_.size() < size) nodes_.resize(std::max(size, nodes_.size() * 3 / 2));
  }

  std::vector<Node> nodes_;
  int32_t free_ = 1;
};

// Which characters stand side by side within some piece. May say yes for others too: then a chunk is longer.
class Neighbours {
 public:
  explicit Neighbours(int64_t num_pairs) {
    while ((int64_t{1} << bits_) < 16 * num_pairs && bits_ < 24) ++bits_;
    hashed_.resize((size_t{1} << bits_) / 64);
  }
  void Add(uint32_t left, uint32_t right) {
    if ((left | right) < 0x80) ascii_[left][right >> 6] |= uint64_t{1} << (right & 63);
    const uint32_t place = Place(left, right);
    hashed_[place >> 6] |= uint64_t{1} << (place & 63);
  }
  bool Ascii(uint32_t left, uint32_t right) const { return ascii_[left][right >> 6] >> (right & 63) & 1; }
  bool Any(uint32_t left, uint32_t right) const {
    const uint32_t place = Place(left, right);
    return hashed_[place >> 6] >> (place & 63) & 1;
  }

 private:
  uint32_t Place(uint32_t left, uint32_t right) const {
    return static_cast<uint32_t>((uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u >> (64 - bits_));
  }
  uint64_t ascii_[128][2] = {};
  int bits_ = 12;
  std::vector<uint64_t> hashed_;
};

}  // namespace
