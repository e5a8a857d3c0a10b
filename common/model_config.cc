#include "common/model_config.h"

#include <algorithm>
#include <cmath>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/json.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

using Json = nlohmann::json;

// Far beyond any model, and small enough that no product of sizes overflows.
constexpr int64_t kMaxLayers = int64_t{1} << 12;
constexpr int64_t kMaxHidden = int64_t{1} << 20;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxQueryRows = int64_t{1} << 24;  // H·h; so no count of parameters overflows
constexpr int64_t kMaxIntermediate = int64_t{1} << 22;
constexpr int64_t kMaxVocabulary = int64_t{1} << 26;
constexpr int64_t kMaxPositions = int64_t{1} << 40;

// Reads the members of a JSON object. As in transformers, null means absent. Errors name the file
// and the key.
class ObjectReader {
 public:
  // `prefix` is written before the keys in errors: "" or "rope_scaling.".
  ObjectReader(const Json& object, std::string file, std::string prefix)
      : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {}

  const Json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  absl::StatusOr<int64_t> Size(const char* key, int64_t max,
                               std::optional<int64_t> default_value = std::nullopt) const {
    const Json* value = Find(key);
    if (value == nullptr && default_value.has_value()) return *default_value;
    if (value == nullptr) return Missing(key);
    const bool in_range = value->is_number_unsigned() && value->get<uint64_t>() >= 1 &&
                          value->get<uint64_t>() <= static_cast<uint64_t>(max);
    if (!in_range) {
      return Invalid(key, *value, absl::StrCat("must be an integer from 1 to ", max));
    }
    return value->get<int64_t>();
  }

  absl::StatusOr<double> Positive(const char* key,
                                  std::optional<double> default_value = std::nullopt) const {
    const Json* value = Find(key);
    if (value == nullptr && default_value.has_value()) return *default_value;
    if (value == nullptr) return Missing(key);
    const double number = value->is_number() ? value->get<double>() : 0;
    if (!(number > 0) || !std::isfinite(number)) {
      return Invalid(key, *value, "must be a positive number");
    }
    return number;
  }

  absl::StatusOr<bool> Bool(const char* key, bool default_value) const {
    const Json* value = Find(key);
    if (value == nullptr) return default_value;
    if (!value->is_boolean()) return Invalid(key, *value, "must be true or false");
    return value->get<bool>();
  }

  absl::StatusOr<ObjectReader> Object(const char* key) const {
    const Json* value = Find(key);
    if (!value->is_object()) return Invalid(key, *value, "must be an object");
    return ObjectReader(*value, file_, absl::StrCat(prefix_, key, "."));
  }

  absl::Status Missing(const char* key) const {
    return absl::InvalidArgumentError(absl::StrCat(Where(key), " is missing"));
  }
  absl::Status Invalid(const char* key, const Json& value, const std::string& demand) const {
    return absl::InvalidArgumentError(absl::StrCat(Where(key), " is ", Dump(value), ", ", demand));
  }
  absl::Status Unsupported(const char* key, const Json& value, const std::string& supported) const {
    return absl::UnimplementedError(absl::StrCat(Where(key), " is ", Dump(value),
                                                 ", which Espalier cannot compute: ", supported));
  }

 private:
  std::string Where(const char* key) const {
    return absl::StrCat(file_, ": \"", prefix_, key, "\"");
  }
  // Short, so that a huge or hostile value cannot flood a terminal.
  static std::string Dump(const Json& value) {
    constexpr size_t kMaxShown = 80;
    std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
    if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
    return text;
  }

  const Json& object_;
  std::string file_;
  std::string prefix_;
};

bool IsString(const Json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

absl::Status CheckArchitecture(const ObjectReader& reader) {
  const Json* type = reader.Find("model_type");
  const Json* architectures = reader.Find("architectures");
  if (type == nullptr && architectures == nullptr) return reader.Missing("model_type");
  if (type != nullptr && IsString(*type, "espalier_compact")) {
    return reader.Unsupported("model_type", *type,
                              "it is a subnet that Espalier exported, give the dense model or the "
                              "padded copy instead");
  }
  if (type != nullptr && !IsString(*type, "llama")) {
    return reader.Unsupported("model_type", *type, "only \"llama\" is supported");
  }
  if (architectures == nullptr) return absl::OkStatus();
  // "LLaMAForCausalLM" is how the first conversions of LLaMA-1 spelled it.
  const bool causal_lm = architectures->is_array() && architectures->size() == 1 &&
                         (IsString((*architectures)[0], "LlamaForCausalLM") ||
                          IsString((*architectures)[0], "LLaMAForCausalLM"));
  if (causal_lm) return absl::OkStatus();
  return reader.Unsupported("architectures", *architectures,
                            "only [\"LlamaForCausalLM\"] is supported");
}

absl::Status CheckNoPartialRotation(const ObjectReader& reader) {
  ESPALIER_ASSIGN_OR_RETURN(const double rotated, reader.Positive("partial_rotary_factor", 1));
  if (rotated == 1) return absl::OkStatus();
  return reader.Unsupported("partial_rotary_factor", *reader.Find("partial_rotary_factor"),
                            "only 1 is supported");
}

// Refuses what LlamaForCausalLM could be told to compute and Espalier's engine does not.
absl::Status CheckOptions(const ObjectReader& reader) {
  const Json* activation = reader.Find("hidden_act");
  if (activation != nullptr && !IsString(*activation, "silu") && !IsString(*activation, "swish")) {
    return reader.Unsupported("hidden_act", *activation, "only \"silu\" is supported");
  }
  const Json* quantization = reader.Find("quantization_config");
  if (quantization != nullptr) {
    return reader.Unsupported("quantization_config", *quantization,
                              "give the model in float32, float16 or bfloat16");
  }
  return CheckNoPartialRotation(reader);
}

struct Rope {
  std::optional<double> theta;
  std::optional<Llama3RopeScaling> scaling;
};

absl::StatusOr<Llama3RopeScaling> ParseLlama3(const ObjectReader& reader) {
  Llama3RopeScaling scaling;
  ESPALIER_ASSIGN_OR_RETURN(scaling.factor, reader.Positive("factor"));
  ESPALIER_ASSIGN_OR_RETURN(scaling.low_freq_factor, reader.Positive("low_freq_factor"));
  ESPALIER_ASSIGN_OR_RETURN(scaling.high_freq_factor, reader.Positive("high_freq_factor"));
  ESPALIER_ASSIGN_OR_RETURN(scaling.original_max_position_embeddings,
                            reader.Size("original_max_position_embeddings", kMaxPositions));
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    return reader.Invalid("high_freq_factor", *reader.Find("high_freq_factor"),
                          "must be greater than low_freq_factor");
  }
  return scaling;
}

// `rope_scaling` of transformers 4 or `rope_parameters` of transformers 5.
absl::StatusOr<Rope> ParseRope(const ObjectReader& reader) {
  const char* key = reader.Find("rope_type") != nullptr ? "rope_type" : "type";
  const Json* type = reader.Find(key);
  if (type == nullptr) return reader.Missing("rope_type");
  ESPALIER_RETURN_IF_ERROR(CheckNoPartialRotation(reader));
  Rope rope;
  if (reader.Find("rope_theta") != nullptr) {
    ESPALIER_ASSIGN_OR_RETURN(rope.theta, reader.Positive("rope_theta"));
  }
  if (IsString(*type, "llama3")) {
    ESPALIER_ASSIGN_OR_RETURN(rope.scaling, ParseLlama3(reader));
  } else if (!IsString(*type, "default")) {
    return reader.Unsupported(key, *type, "only \"default\" and \"llama3\" are supported");
  }
  return rope;
}

absl::Status ReadRope(const ObjectReader& reader, ModelConfig* config) {
  Rope rope;
  if (reader.Find("rope_theta") != nullptr) {
    ESPALIER_ASSIGN_OR_RETURN(rope.theta, reader.Positive("rope_theta"));
  }
  bool scaling_known = false;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (reader.Find(key) == nullptr) continue;
    ESPALIER_ASSIGN_OR_RETURN(const ObjectReader inner, reader.Object(key));
    ESPALIER_ASSIGN_OR_RETURN(const Rope other, ParseRope(inner));
    // A file may carry both spellings, but which one counts depends on the reader's version.
    const bool theta_differs = rope.theta && other.theta && *rope.theta != *other.theta;
    if (theta_differs || (scaling_known && rope.scaling != other.scaling)) {
      return reader.Invalid(key, *reader.Find(key),
                            "must agree with \"rope_theta\" and \"rope_scaling\"");
    }
    if (other.theta) rope.theta = other.theta;
    rope.scaling = other.scaling;
    scaling_known = true;
  }
  config->rope_theta = rope.theta.value_or(config->rope_theta);
  config->rope_scaling = rope.scaling;
  return absl::OkStatus();
}

absl::Status ReadHeads(const ObjectReader& reader, ModelConfig* config) {
  ESPALIER_ASSIGN_OR_RETURN(config->num_heads, reader.Size("num_attention_heads", kMaxHeads));
  ESPALIER_ASSIGN_OR_RETURN(config->num_kv_heads,
                            reader.Size("num_key_value_heads", kMaxHeads, config->num_heads));
  if (config->num_heads % config->num_kv_heads != 0) {
    return reader.Invalid("num_key_value_heads", config->num_kv_heads,
                          absl::StrCat("must divide num_attention_heads, ", config->num_heads));
  }
  if (reader.Find("head_dim") == nullptr && config->hidden_size % config->num_heads != 0) {
    return reader.Invalid("num_attention_heads", config->num_heads,
                          absl::StrCat("must divide hidden_size, ", config->hidden_size,
                                       ", unless \"head_dim\" is given"));
  }
  ESPALIER_ASSIGN_OR_RETURN(
      config->head_dim,
      reader.Size("head_dim", std::max<int64_t>(1, kMaxQueryRows / config->num_heads),
                  config->hidden_size / config->num_heads));
  if (config->head_dim % 2 != 0) {
    return reader.Invalid("head_dim", config->head_dim,
                          "must be even: rotary embeddings turn pairs of dims");
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const ObjectReader& reader, ModelConfig* config) {
  ESPALIER_ASSIGN_OR_RETURN(config->num_layers, reader.Size("num_hidden_layers", kMaxLayers));
  ESPALIER_ASSIGN_OR_RETURN(config->hidden_size, reader.Size("hidden_size", kMaxHidden));
  ESPALIER_RETURN_IF_ERROR(ReadHeads(reader, config));
  ESPALIER_ASSIGN_OR_RETURN(config->intermediate_size,
                            reader.Size("intermediate_size", kMaxIntermediate));
  ESPALIER_ASSIGN_OR_RETURN(config->vocab_size, reader.Size("vocab_size", kMaxVocabulary));
  ESPALIER_ASSIGN_OR_RETURN(
      config->max_position_embeddings,
      reader.Size("max_position_embeddings", kMaxPositions, config->max_position_embeddings));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json, std::string_view source) {
  const std::string file(source);
  const Json root = ParseJson(json);
  if (!root.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, root.is_discarded() ? " is not valid JSON" : " is not a JSON object"));
  }
  const ObjectReader reader(root, file, "");
  ESPALIER_RETURN_IF_ERROR(CheckArchitecture(reader));
  ESPALIER_RETURN_IF_ERROR(CheckOptions(reader));
  ModelConfig config;
  ESPALIER_RETURN_IF_ERROR(ReadSizes(reader, &config));
  ESPALIER_RETURN_IF_ERROR(ReadRope(reader, &config));
  ESPALIER_ASSIGN_OR_RETURN(config.rms_norm_eps,
                            reader.Positive("rms_norm_eps", config.rms_norm_eps));
  ESPALIER_ASSIGN_OR_RETURN(config.tie_word_embeddings, reader.Bool("tie_word_embeddings", false));
  ESPALIER_ASSIGN_OR_RETURN(config.attention_bias, reader.Bool("attention_bias", false));
  ESPALIER_ASSIGN_OR_RETURN(config.mlp_bias, reader.Bool("mlp_bias", false));
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  ESPALIER_ASSIGN_OR_RETURN(const std::string json, ReadFile(file));
  return ParseModelConfig(json, file.string());
}

}  // namespace espalier
