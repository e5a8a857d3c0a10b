// What holds for the ids of any tokenizer.
#ifndef ESPALIER_FUZZ_ENCODING_H_
#define ESPALIER_FUZZ_ENCODING_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "common/tokenizer.h"
#include "common/utf8.h"
#include "fuzz/check.h"

namespace espalier::fuzz {

inline absl::Status CheckEncoding(const Tokenizer& tokenizer, std::string_view text) {
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text);
  ESPALIER_RETURN_IF_ERROR(
      Require(ids.ok() || InvalidUtf8Offset(text) || absl::IsResourceExhausted(ids.status()),
              "UTF-8 is encoded, unless it takes too long"));
  if (!ids.ok()) return absl::OkStatus();
  ESPALIER_RETURN_IF_ERROR(Require(!InvalidUtf8Offset(text), "only UTF-8 is encoded"));
  for (const int32_t id : *ids) {
    ESPALIER_RETURN_IF_ERROR(
        Require(id >= 0 && id < tokenizer.vocab_size(), "ids lie in the vocabulary"));
  }
  return absl::OkStatus();
}

// The text given, and some that every tokenizer meets.
inline absl::Status CheckEncodings(const Tokenizer& tokenizer, std::string_view text) {
  for (const std::string_view each :
       {text, std::string_view(), std::string_view(" "),
        std::string_view("  It's 42\xC2\xA0€ <s></s>\n\n\t,,ab ab ")}) {
    ESPALIER_RETURN_IF_ERROR(CheckEncoding(tokenizer, each));
  }
  return absl::OkStatus();
}

}  // namespace espalier::fuzz

#endif  // ESPALIER_FUZZ_ENCODING_H_
