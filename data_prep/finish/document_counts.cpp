// In how many documents each token occurs: one look at each token, where NumPy needs several passes.

#include <cstdint>

extern "C" {

// What is known of a token, side by side: the last document that had it, and how many documents did.
struct Seen {
  uint32_t document, count;
};

// Counts a document for each different token among `token_ids`. No other may have the number `document`, which is not 0.
__attribute__((visibility("default"))) void document_counts_add(const int32_t* token_ids, int64_t num_tokens,
                                                                uint32_t document, Seen* seen) {
  for (int64_t i = 0; i < num_tokens; ++i) {
    Seen& token = seen[token_ids[i]];
    token.count += token.document != document;
    token.document = document;
  }
}
}
