// In how many documents each token occurs: one look at each token, where NumPy needs several passes.

#include <cstdint>

extern "C" {

// Adds 1 to `counts[t]` for each different token t among `token_ids`. `seen[t]` is the last document that had it; no other
// document may have the number `document`.
__attribute__((visibility("default"))) void document_counts_add(const int32_t* token_ids, int64_t num_tokens,
                                                                int64_t document, int64_t* seen, int64_t* counts) {
  for (int64_t i = 0; i < num_tokens; ++i) {
    const int32_t token = token_ids[i];
    counts[token] += seen[token] != document;
    seen[token] = document;
  }
}
}
