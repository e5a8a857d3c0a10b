// What fuzz targets share.
#ifndef ESPALIER_FUZZ_CHECK_H_
#define ESPALIER_FUZZ_CHECK_H_

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/model_config.h"

namespace espalier::fuzz {

inline absl::Status Require(bool holds, std::string_view promise) {
  if (holds) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("broken promise: ", std::string(promise)));
}

// A refusal must say what it is about: the file, flag or address that people know it by.
inline absl::Status RequireNames(const absl::Status& refusal, std::string_view source) {
  return Require(
      absl::StrContains(refusal.message(), absl::string_view(source.data(), source.size())),
      absl::StrCat("the refusal names ", std::string(source), ": ", refusal.message()));
}

// An input of two parts, such as a tokenizer and a text: before and after the separator line. The
// second part is empty where there is none.
inline std::pair<std::string_view, std::string_view> TwoParts(std::string_view input) {
  constexpr std::string_view kSeparator = "\n%%\n";
  const size_t end = input.rfind(kSeparator);
  if (end == std::string_view::npos) return {input, {}};
  return {input.substr(0, end), input.substr(end + kSeparator.size())};
}

// Small, with every size different from the others.
inline ModelConfig TinyConfig() {
  return {.num_layers = 2,
          .hidden_size = 24,
          .num_heads = 6,
          .num_kv_heads = 3,
          .head_dim = 8,
          .intermediate_size = 20,
          .vocab_size = 11};
}

}  // namespace espalier::fuzz

#endif  // ESPALIER_FUZZ_CHECK_H_
