#include "common/tokenizer.h"

#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/status_macros.h"
#include "common/tokenizers/bpe_tokenizer.h"
#include "common/tokenizers/json_view.h"
#include "common/tokenizers/sentencepiece_tokenizer.h"

namespace espalier {
namespace {

using tokenizers::JsonView;

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

absl::StatusOr<nlohmann::json> ReadJson(const std::filesystem::path& path) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return tokenizers::ParseJsonObject(text, path.string());
}

// What tokenizer_config.json says that matters here; all defaults when there is no such file.
struct TokenizerConfig {
  std::string tokenizer_class;
  bool add_prefix_space = false;
  bool add_bos_token = true;
  bool add_eos_token = false;
};

absl::StatusOr<TokenizerConfig> ReadConfig(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "tokenizer_config.json";
  TokenizerConfig config;
  if (!Exists(path)) return config;
  ESPALIER_ASSIGN_OR_RETURN(const nlohmann::json document, ReadJson(path));
  const JsonView view(document, path.string());
  ESPALIER_ASSIGN_OR_RETURN(config.tokenizer_class, view.StringOr("tokenizer_class", ""));
  ESPALIER_ASSIGN_OR_RETURN(config.add_prefix_space, view.BoolOr("add_prefix_space", false));
  ESPALIER_ASSIGN_OR_RETURN(config.add_bos_token, view.BoolOr("add_bos_token", true));
  ESPALIER_ASSIGN_OR_RETURN(config.add_eos_token, view.BoolOr("add_eos_token", false));
  return config;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadBpe(const nlohmann::json& document,
                                                   const std::filesystem::path& path,
                                                   const TokenizerConfig& config) {
  tokenizers::BpeOptions options;
  // transformers 5 builds this class from vocabulary and merges alone
  // (src/transformers/models/gpt2/tokenization_gpt2.py).
  if (config.tokenizer_class == "GPT2Tokenizer" || config.tokenizer_class == "GPT2TokenizerFast") {
    options.gpt2_add_prefix_space = config.add_prefix_space;
  }
  return tokenizers::MakeBpeTokenizer(document, path.string(), options);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadSentencePiece(const std::filesystem::path& path,
                                                             const TokenizerConfig& config) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return tokenizers::MakeSentencePieceTokenizer(
      bytes, path.string(), {.add_bos = config.add_bos_token, .add_eos = config.add_eos_token});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::filesystem::path& directory) {
  const std::filesystem::path json = directory / "tokenizer.json";
  const std::filesystem::path model = directory / "tokenizer.model";
  if (!Exists(json) && !Exists(model)) {
    return absl::NotFoundError(absl::StrCat(directory.string(),
                                            ": has neither tokenizer.json nor tokenizer.model; "
                                            "put the model's tokenizer there"));
  }
  ESPALIER_ASSIGN_OR_RETURN(const TokenizerConfig config, ReadConfig(directory));
  if (!Exists(json)) return LoadSentencePiece(model, config);
  ESPALIER_ASSIGN_OR_RETURN(const nlohmann::json document, ReadJson(json));
  if (!tokenizers::IsConvertedSentencePiece(document)) return LoadBpe(document, json, config);
  if (Exists(model)) return LoadSentencePiece(model, config);
  return absl::UnimplementedError(
      absl::StrCat(json.string(),
                   ": is a converted sentencepiece model; put the tokenizer.model "
                   "that it was made from beside it"));
}

}  // namespace espalier
