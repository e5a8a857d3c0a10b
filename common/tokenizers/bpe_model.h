// The "model" of a byte-level tokenizer.json: byte-pair encoding by ranked merges (Sennrich,
// Haddow, Birch: "Neural machine translation of rare words with subword units", 2016) over the
// bytes of a piece, each spelled as one character of GPT-2's alphabet.
#ifndef ESPALIER_COMMON_TOKENIZERS_BPE_MODEL_H_
#define ESPALIER_COMMON_TOKENIZERS_BPE_MODEL_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/tokenizers/json_view.h"

namespace espalier::tokenizers {

// Thread-safe.
class BpeModel {
 public:
  // `view` is the value of "model". UNIMPLEMENTED names what is not byte-level BPE.
  static absl::StatusOr<BpeModel> Parse(const JsonView& view);

  // Appends the ids of a piece, in O(n log n) of its bytes: merges of lowest rank first, the
  // leftmost among equals. A byte that the vocabulary lacks becomes the unknown token, or nothing
  // when there is none.
  void Encode(std::string_view piece, std::vector<int32_t>& ids) const;

  int32_t max_id() const { return max_id_; }

 private:
  struct Merge {
    int32_t rank;
    int32_t id;
  };
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
  };
  struct Pair;

  absl::Status CheckOptions(const JsonView& view);
  absl::Status ReadVocabulary(const JsonView& view);
  absl::Status ReadMerges(const JsonView& view);
  absl::Status AddMerge(const JsonView& entry, int32_t rank);
  const Merge* FindMerge(int32_t left, int32_t right) const;
  std::vector<Symbol> Symbols(std::string_view piece) const;
  void MergeAll(std::vector<Symbol>& symbols) const;

  std::unordered_map<std::string, int32_t> vocabulary_;  // in GPT-2's alphabet
  std::unordered_map<uint64_t, Merge> merges_;           // by left id · 2³² + right id
  std::array<int32_t, 256> byte_ids_{};                  // −1: not in the vocabulary
  int32_t unknown_id_ = -1;                              // −1: unknown bytes are dropped
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;  // a piece that is a token is that token, whatever the merges say
  int32_t max_id_ = -1;
};

// GPT-2's alphabet: the character (UTF-8) that stands for a byte.
std::string ByteCharacter(unsigned char byte);

}  // namespace espalier::tokenizers

#endif  // ESPALIER_COMMON_TOKENIZERS_BPE_MODEL_H_
