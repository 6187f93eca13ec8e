// ICU's dictionary as it lies in ICU's data: words of UTF-16 units with costs, a serialized UCharsTrie.
//
// Source: ICU's ucharstrie.h, which describes the format (a public one: version 1 of ICU's "Dict").
#pragma once

#include <cstdint>
#include <vector>

namespace {

class Dictionary {
 public:
  // `trie` stays where it is while this lives; null: no dictionary.
  explicit Dictionary(const uint16_t* trie)
      : trie_(trie), first_(trie ? 1 << 16 : 0, kUnknown), second_(trie ? kRemembered : 0) {}

  explicit operator bool() const { return trie_; }

  // Calls `found(length, cost)` for every word that the units begin with, of at most `count` units, shortest first.
  template <class Found>
  void Matches(const uint16_t* units, int count, Found found) {
    Node node = First(units[0]);
    for (int length = 1; node.at; ++length) {
      if (node.linear < 0 && *node.at >= kMinValueLead) {
        found(length, Value(node.at));
        if (*node.at & kFinal) return;
      }
      if (length == count) return;
      if (length == 1) node = Second(node, units[0], units[1]);
      else if (!Move(&node, units[length])) return;
    }
  }

 private:
  struct Node {
    const uint16_t* at;
    int linear;  // units of a single way that are still to match, less one; -1: none
  };
  enum : int {
    kMaxLinearBranch = 5, kMinLinearMatch = 0x30, kMinValueLead = 0x40, kTypeMask = 0x3F, kFinal = 0x8000,
    kTwoUnitValue = 0x4000, kThreeUnitValue = 0x7FFF, kTwoUnitNodeValue = 0x4040, kThreeUnitNodeValue = 0x7FC0,
    kTwoUnitDelta = 0xFC00, kThreeUnitDelta = 0xFFFF,
  };
  static constexpr int32_t kUnknown = -1, kNone = -2;

  // After one unit: the widest branch, so it is remembered.
  Node First(uint16_t unit) {
    int32_t& offset = first_[unit];
    if (offset >= 0) return {trie_ + offset, -1};
    Node node = {trie_, -1};
    if (offset == kNone || !Move(&node, unit)) return offset = kNone, Node{nullptr, -1};
    if (node.linear < 0) offset = static_cast<int32_t>(node.at - trie_);
    return node;
  }

  // After two, from where one led: the last way of many pairs is remembered.
  Node Second(const Node& first, uint16_t one, uint16_t other) {
    const uint32_t pair = static_cast<uint32_t>(one) << 16 | other;
    Way& way = second_[pair * 0x9E3779B1u >> kShift];
    if (way.pair != pair) {
      way = {pair, first};
      if (!Move(&way.node, other)) way.node.at = nullptr;
    }
    return way.node;
  }

  static bool Move(Node* node, uint16_t unit) {
    const uint16_t* at = node->at;
    if (node->linear < 0) {
      int lead = *at++;
      if (lead >= kMinValueLead) {  // a word ends here, and others go on
        at += lead < kTwoUnitNodeValue ? 0 : lead < kThreeUnitNodeValue ? 1 : 2;
        lead &= kTypeMask;
      }
      if (lead < kMinLinearMatch) return node->at = Branch(at, lead, unit);
      node->linear = lead - kMinLinearMatch;
    }
    if (unit != *at) return false;
    *node = {at + 1, node->linear - 1};
    return true;
  }

  // Where the branch at `at` leads along `unit`; null: nowhere.
  static const uint16_t* Branch(const uint16_t* at, int length, uint16_t unit) {
    if (length == 0) length = *at++;
    for (++length; length > kMaxLinearBranch;) {
      const bool left = unit < *at++;
      const int delta = *at++;
      const int more = delta < kTwoUnitDelta ? 0 : delta < kThreeUnitDelta ? 1 : 2;
      if (left) at += more + Long(delta, delta - kTwoUnitDelta, at, more);
      else at += more;
      length = left ? length >> 1 : length - (length >> 1);
    }
    for (; length > 1; --length) {
      const bool found = unit == *at++;
      const int lead = *at, value = lead & ~kFinal;
      const int more = value < kTwoUnitValue ? 0 : value < kThreeUnitValue ? 1 : 2;
      if (found) return lead & kFinal ? at : at + 1 + more + Long(value, value - kTwoUnitValue, at + 1, more);
      at += 1 + more;
    }
    return unit == *at ? at + 1 : nullptr;
  }

  static int32_t Value(const uint16_t* at) {
    const int lead = *at;
    if (lead & kFinal) {
      const int value = lead & ~kFinal;
      return Long(value, value - kTwoUnitValue, at + 1, value < kTwoUnitValue ? 0 : value < kThreeUnitValue ? 1 : 2);
    }
    if (lead < kTwoUnitNodeValue) return (lead >> 6) - 1;
    const int high = ((lead & kThreeUnitNodeValue) - kTwoUnitNodeValue) >> 6;
    return Long(0, high, at + 1, lead < kThreeUnitNodeValue ? 1 : 2);
  }

  // A number of one, two or three units, the `more` behind the first lying at `at`.
  static int32_t Long(int one, int high, const uint16_t* at, int more) {
    return more == 0 ? one : more == 1 ? high << 16 | at[0] : at[0] << 16 | at[1];
  }

  struct Way {
    uint32_t pair = 0;  // no word begins with it
    Node node = {nullptr, -1};
  };
  static constexpr int kShift = 16, kRemembered = 1 << (32 - kShift);

  const uint16_t* trie_;
  std::vector<int32_t> first_;  // by unit: where it leads
  std::vector<Way> second_;     // by two
};

}  // namespace
