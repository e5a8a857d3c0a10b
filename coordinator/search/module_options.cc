#include "coordinator/search/module_options.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier::search {
namespace {

absl::Status Wrong(size_t layer, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat("the ranking of layer ", layer, " ", problem));
}

bool IsError(double error) { return std::isfinite(error) && error >= 0; }

int64_t KeptPairs(const AttentionCut& cut) {
  int64_t pairs = 0;
  for (const Bitmask& mask : cut.masks) pairs += mask.Count();
  return pairs;
}

absl::Status CheckCut(size_t layer, const AttentionCut& cut, const ModelConfig& config) {
  bool good = static_cast<int64_t>(cut.masks.size()) == config.num_kv_heads;
  for (const Bitmask& mask : cut.masks) good = good && mask.size() == config.pairs();
  if (!good) return Wrong(layer, "has an attention cut whose masks don't have the model's shape");
  const int64_t pairs = KeptPairs(cut);
  if (pairs == 0 || pairs == config.num_kv_heads * config.pairs()) {
    return Wrong(layer, "has a cut that keeps the whole attention or nothing of it");
  }
  if (!IsError(cut.error)) return Wrong(layer, absl::StrCat("has the error ", cut.error));
  return absl::OkStatus();
}

absl::Status CheckChannels(size_t layer, const LayerRanking& ranking, const ModelConfig& config,
                           int64_t step) {
  const int64_t f = config.intermediate_size;
  std::vector<bool> ranked(f, false);
  int64_t count = 0;
  for (const int32_t channel : ranking.channels) {
    if (channel < 0 || channel >= f || ranked[channel]) break;
    ranked[channel] = true;
    ++count;
  }
  if (count != f || std::ssize(ranking.channels) != f) {
    return Wrong(layer, absl::StrCat("is no permutation of its ", f, " MLP channels"));
  }
  const int64_t sizes = (f + step - 1) / step;
  if (std::ssize(ranking.channel_errors) != sizes) {
    return Wrong(layer,
                 absl::StrCat("has ", ranking.channel_errors.size(), " errors of MLP sizes; ", f,
                              " channels in steps of ", step, " have ", sizes));
  }
  for (const double error : ranking.channel_errors) {
    if (!IsError(error)) return Wrong(layer, absl::StrCat("has the error ", error));
  }
  return absl::OkStatus();
}

absl::Status CheckRanking(const ModelConfig& config, const Ranking& ranking, int64_t step) {
  if (step < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("MLPs are cut in steps of ", step, " channels; it must be at least 1"));
  }
  if (std::ssize(ranking.layers) != config.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("the ranking has ", ranking.layers.size(),
                                                   " layers, the model has ", config.num_layers));
  }
  for (size_t l = 0; l < ranking.layers.size(); ++l) {
    for (const AttentionCut& cut : ranking.layers[l].attention) {
      ESPALIER_RETURN_IF_ERROR(CheckCut(l, cut, config));
    }
    ESPALIER_RETURN_IF_ERROR(CheckChannels(l, ranking.layers[l], config, step));
  }
  return absl::OkStatus();
}

int64_t ModuleParameters(int64_t units, int64_t per_unit, const ModelConfig& config) {
  return units == 0 ? 0 : units * per_unit + config.hidden_size;
}

ModuleOption MakeOption(int64_t units, int64_t per_unit, double error, const ModelConfig& config) {
  return {.parameters = ModuleParameters(units, per_unit, config), .error = error, .units = units};
}

// An empty module's output is 0: all of the dense one's is lost, which is an error of 1.
constexpr double kErrorOfNone = 1;

std::vector<ModuleOption> AttentionOptions(const ModelConfig& config, const LayerRanking& ranking) {
  const int64_t per_pair = ParametersPerPair(config);
  std::vector<ModuleOption> cuts;
  for (size_t i = 0; i < ranking.attention.size(); ++i) {
    const AttentionCut& cut = ranking.attention[i];
    cuts.push_back(MakeOption(KeptPairs(cut), per_pair, cut.error, config));
    cuts.back().cut = static_cast<int32_t>(i);
  }
  std::sort(cuts.begin(), cuts.end(), [](const ModuleOption& a, const ModuleOption& b) {
    return std::tie(a.units, a.error, a.cut) < std::tie(b.units, b.error, b.cut);
  });
  std::vector<ModuleOption> options = {MakeOption(0, per_pair, kErrorOfNone, config)};
  std::set<std::string> known;  // masks
  for (const ModuleOption& option : cuts) {
    std::string masks;
    for (const Bitmask& mask : ranking.attention[option.cut].masks) masks += mask.bytes();
    if (known.insert(std::move(masks)).second) options.push_back(option);
  }
  options.push_back(MakeOption(config.num_kv_heads * config.pairs(), per_pair, 0, config));
  return options;
}

std::vector<ModuleOption> MlpOptions(const ModelConfig& config, const LayerRanking& ranking,
                                     int64_t step) {
  const int64_t per_channel = ParametersPerChannel(config);
  std::vector<ModuleOption> options;
  for (size_t i = 0; i < ranking.channel_errors.size(); ++i) {
    options.push_back(
        MakeOption(static_cast<int64_t>(i) * step, per_channel, ranking.channel_errors[i], config));
  }
  options.push_back(MakeOption(config.intermediate_size, per_channel, 0, config));
  return options;
}

}  // namespace

absl::StatusOr<ModuleTable> ModuleTable::Create(const ModelConfig& config, const Ranking& ranking,
                                                int64_t channel_step, CutModules cut) {
  ESPALIER_RETURN_IF_ERROR(CheckRanking(config, ranking, channel_step));
  return ModuleTable(config, ranking, channel_step, cut);
}

ModuleTable::ModuleTable(const ModelConfig& config, const Ranking& ranking, int64_t channel_step,
                         CutModules cut)
    : config_(config), ranking_(ranking), dense_parameters_(DenseParameters(config)) {
  fixed_parameters_ = dense_parameters_;
  for (const LayerRanking& layer : ranking.layers) {
    options_.push_back(AttentionOptions(config, layer));
    options_.push_back(MlpOptions(config, layer, channel_step));
  }
  for (size_t m = 0; m < modules(); ++m) {
    fixed_parameters_ -= FullParameters(m);
    const CutModules left = IsAttention(m) ? CutModules::kMlp : CutModules::kAttention;
    if (cut == left) options_[m] = {options_[m].back()};
  }
}

int64_t ModuleTable::Parameters(const Allocation& allocation) const {
  int64_t parameters = fixed_parameters_;
  for (size_t m = 0; m < modules(); ++m) parameters += options_[m][allocation[m]].parameters;
  return parameters;
}

Allocation ModuleTable::Dense() const {
  Allocation allocation;
  for (const auto& options : options_) {
    allocation.push_back(static_cast<int32_t>(options.size()) - 1);
  }
  return allocation;
}

void ModuleTable::Apply(size_t module, int32_t option, Subnet& subnet) const {
  LayerMask& layer = subnet.layers[module / 2];
  const ModuleOption& chosen = options_[module][option];
  const bool whole = option + 1 == std::ssize(options_[module]);
  const LayerRanking& ranking = ranking_.layers[module / 2];
  if (!IsAttention(module)) {
    layer.mlp = Bitmask(config_.intermediate_size, whole);
    if (whole) return;
    const auto first_kept = ranking.channels.end() - chosen.units;
    std::for_each(first_kept, ranking.channels.end(),
                  [&](int32_t channel) { layer.mlp.Set(channel); });
  } else if (chosen.cut >= 0) {
    layer.attention = ranking.attention[chosen.cut].masks;
  } else {
    layer.attention.assign(config_.num_kv_heads, Bitmask(config_.pairs(), whole));
  }
}

Subnet ModuleTable::Build(const Allocation& allocation) const {
  Subnet subnet = Subnet::Dense(config_);
  for (size_t m = 0; m < modules(); ++m) {
    if (allocation[m] + 1 < std::ssize(options_[m])) Apply(m, allocation[m], subnet);
  }
  return subnet;
}

}  // namespace espalier::search
