// The fuzz targets. Each hands bytes from outside to one parser and checks what its header
// promises; bytes that the parser refuses are as good as any. An error is a broken promise.
#ifndef ESPALIER_FUZZ_TARGETS_H_
#define ESPALIER_FUZZ_TARGETS_H_

#include <string_view>

#include "absl/status/status.h"

namespace espalier::fuzz {

absl::Status Addresses(std::string_view input);
absl::Status BearerTokens(std::string_view input);
absl::Status BitMask(std::string_view input);
absl::Status BpeTokenizer(std::string_view input);
absl::Status HttpRequest(std::string_view input);
absl::Status JobSpecYaml(std::string_view input);
absl::Status Journal(std::string_view input);
absl::Status ModelConfigJson(std::string_view input);
absl::Status Regex(std::string_view input);
absl::Status Safetensors(std::string_view input);
absl::Status SafetensorsIndex(std::string_view input);
absl::Status SentencePiece(std::string_view input);
absl::Status SubnetJson(std::string_view input);
absl::Status SubnetMessage(std::string_view input);

struct Target {
  std::string_view name;  // of its file, corpus and dictionary
  absl::Status (*function)(std::string_view input);
};

inline constexpr Target kTargets[] = {
    {"addresses", &Addresses},
    {"bearer_tokens", &BearerTokens},
    {"bitmask", &BitMask},
    {"bpe_tokenizer", &BpeTokenizer},
    {"http_request", &HttpRequest},
    {"job_spec", &JobSpecYaml},
    {"journal", &Journal},
    {"model_config", &ModelConfigJson},
    {"regex", &Regex},
    {"safetensors", &Safetensors},
    {"safetensors_index", &SafetensorsIndex},
    {"sentencepiece", &SentencePiece},
    {"subnet_json", &SubnetJson},
    {"subnet_message", &SubnetMessage},
};

}  // namespace espalier::fuzz

#endif  // ESPALIER_FUZZ_TARGETS_H_
