#include "coordinator/search/baseline_subnet.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/search/search_space.h"
#include "coordinator/search/unit_choice.h"
#include "coordinator/search/unit_order.h"

namespace espalier::search {
namespace {

// A module's units, KV groups or channels, that stay or go in portions of `step`.
struct Module {
  std::vector<double> scores;  // [units]
  UnitOrder order;             // best first
  int64_t step = 1;            // units a portion; the last one may be smaller
  int64_t unit_parameters = 0;

  int64_t units() const { return static_cast<int64_t>(scores.size()); }
  int64_t portions() const { return (units() + step - 1) / step; }
  int64_t Size(int64_t portions) const { return std::min(portions * step, units()); }
  // Of the portion that follows the first `portions`.
  int64_t PortionParameters(int64_t portions) const {
    return (Size(portions + 1) - Size(portions)) * unit_parameters;
  }
};

Module MakeModule(std::vector<double> scores, int64_t step, int64_t unit_parameters) {
  Module module{.scores = std::move(scores), .order = {}, .step = step};
  module.unit_parameters = unit_parameters;
  module.order.resize(module.scores.size());
  std::iota(module.order.begin(), module.order.end(), 0);
  std::stable_sort(module.order.begin(), module.order.end(),
                   [&](int32_t a, int32_t b) { return module.scores[a] > module.scores[b]; });
  return module;
}

// Scores that are sums over so many inputs each, as means over them and relative to the module's.
void Centre(std::vector<double>& values, int64_t inputs) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  for (double& value : values) value = (value - mean) / static_cast<double>(inputs);
}

// Sizes of the modules, in portions, and how they grow within the largest legal total.
class Sizes {
 public:
  Sizes(const std::vector<Module>& modules, int64_t parameters, int64_t most)
      : modules_(&modules), portions_(modules.size(), 0), parameters_(parameters), most_(most) {}

  // One portion more. False, and no change, when the module is whole or the total gets too large.
  bool Grow(size_t module) {
    const Module& growing = (*modules_)[module];
    if (portions_[module] == growing.portions()) return false;
    const int64_t grown = parameters_ + growing.PortionParameters(portions_[module]);
    if (grown > most_) return false;
    parameters_ = grown;
    ++portions_[module];
    return true;
  }

  int64_t parameters() const { return parameters_; }
  int64_t Size(size_t module) const { return (*modules_)[module].Size(portions_[module]); }

 private:
  const std::vector<Module>* modules_;
  std::vector<int64_t> portions_;
  int64_t parameters_;
  int64_t most_;
};

// Modules are numbered 2·l for the attention of layer l and 2·l + 1 for its MLP.
class Chooser {
 public:
  Chooser(const ModelConfig& config, const JobSpec& spec, const UnitScores& scores)
      : config_(config),
        spec_(spec),
        dense_(DenseParameters(config)),
        range_(LegalRange(spec, dense_)) {
    for (const LayerScores& layer : scores.layers) {
      std::vector<double> groups;
      for (const std::vector<double>& pairs : layer.attention) {
        groups.push_back(std::accumulate(pairs.begin(), pairs.end(), 0.0));
      }
      std::vector<double> channels = layer.mlp;
      if (spec.method == SearchMethod::kFlap) {
        Centre(groups, config.queries_per_group() * config.head_dim);
        Centre(channels, 1);
      }
      modules_.push_back(
          MakeModule(std::move(groups), 1, ParametersPerPair(config) * config.pairs()));
      modules_.push_back(
          MakeModule(std::move(channels), spec.align_mlp, ParametersPerChannel(config)));
    }
    if (spec.reformation.method == ReformationMethod::kBias) {
      range_.high -= 2 * config.num_layers * config.hidden_size;  // of every o and down
    }
    fixed_ = dense_;
    for (const Module& module : modules_) fixed_ -= module.units() * module.unit_parameters;
  }

  absl::StatusOr<Subnet> Choose() const {
    std::optional<Sizes> start = Start();
    if (!start) return TooSmallTarget();
    const Sizes sizes =
        spec_.method == SearchMethod::kFlap ? AboveThreshold(*start) : Uniform(*start);
    if (sizes.parameters() < range_.low) return TooNarrowWindow(sizes.parameters());
    return Build(sizes);
  }

 private:
  // Every module with its first portion.
  std::optional<Sizes> Start() const {
    Sizes sizes(modules_, fixed_, range_.high);
    for (size_t m = 0; m < modules_.size(); ++m) {
      if (!sizes.Grow(m)) return std::nullopt;
    }
    return sizes;
  }

  // Numbers of groups, the nearest to the share of the layers that may stay first.
  std::vector<int64_t> GroupCounts() const {
    const double share =
        static_cast<double>(range_.high - fixed_) / static_cast<double>(dense_ - fixed_);
    const double target = share * static_cast<double>(config_.num_kv_heads);
    std::vector<int64_t> counts(config_.num_kv_heads);
    std::iota(counts.rbegin(), counts.rend(), 1);
    std::stable_sort(counts.begin(), counts.end(), [&](int64_t a, int64_t b) {
      return std::abs(static_cast<double>(a) - target) < std::abs(static_cast<double>(b) - target);
    });
    return counts;
  }

  // Of those that miss the window, the largest.
  Sizes Uniform(const Sizes& start) const {
    Sizes best = start;
    for (const int64_t groups : GroupCounts()) {
      Sizes sizes = start;
      if (!GrowAttentions(groups, sizes)) continue;
      GrowMlps(sizes);
      if (sizes.parameters() >= range_.low) return sizes;
      if (sizes.parameters() > best.parameters()) best = sizes;
    }
    return best;
  }

  bool GrowAttentions(int64_t groups, Sizes& sizes) const {
    for (size_t m = 0; m < modules_.size(); m += 2) {
      while (sizes.Size(m) < groups) {
        if (!sizes.Grow(m)) return false;
      }
    }
    return true;
  }

  void GrowMlps(Sizes& sizes) const {
    for (int64_t round = 1; round < modules_[1].portions(); ++round) {
      for (size_t m = 1; m < modules_.size(); m += 2) {
        if (!sizes.Grow(m)) return;
      }
    }
  }

  // By the score of the unit in a portion's middle: so sizes are rounded to the nearest.
  Sizes AboveThreshold(Sizes sizes) const {
    struct Portion {
      size_t module;
      double score;
    };
    std::vector<Portion> portions;
    for (size_t m = 0; m < modules_.size(); ++m) {
      const Module& module = modules_[m];
      for (int64_t p = 1; p < module.portions(); ++p) {
        const int64_t middle = (module.Size(p) + module.Size(p + 1)) / 2;
        portions.push_back({m, module.scores[module.order[middle]]});
      }
    }
    std::stable_sort(portions.begin(), portions.end(),
                     [](const Portion& a, const Portion& b) { return a.score > b.score; });
    // Behind the threshold, what still fits of other modules fills the window.
    std::vector<bool> full(modules_.size(), false);
    for (const Portion& portion : portions) {
      if (!full[portion.module]) full[portion.module] = !sizes.Grow(portion.module);
    }
    return sizes;
  }

  Subnet Build(const Sizes& sizes) const {
    Subnet subnet;
    for (size_t l = 0; 2 * l < modules_.size(); ++l) {
      LayerMask& layer = subnet.layers.emplace_back();
      const Bitmask groups = TopUnits(modules_[2 * l].order, sizes.Size(2 * l));
      for (int64_t g = 0; g < groups.size(); ++g) {
        layer.attention.emplace_back(config_.pairs(), groups.Test(g));
      }
      layer.mlp = TopUnits(modules_[2 * l + 1].order, sizes.Size(2 * l + 1));
    }
    return subnet;
  }

  double Ratio(int64_t parameters) const {
    return static_cast<double>(parameters) / static_cast<double>(dense_);
  }

  absl::Status TooSmallTarget() const {
    int64_t smallest = fixed_;
    for (const Module& module : modules_) smallest += module.PortionParameters(0);
    return absl::InvalidArgumentError(
        absl::StrCat("target.ratio ", spec_.ratio, ": the smallest subnet of method ",
                     std::string(SearchMethodName(spec_.method)), ", one KV head and ",
                     spec_.align_mlp, " MLP channels in every layer, has ratio ", Ratio(smallest),
                     "; raise target.ratio, or lower target.align.mlp"));
  }

  absl::Status TooNarrowWindow(int64_t nearest) const {
    // Rounded up, so that the value that is named does suffice.
    const double needed = std::ceil((spec_.ratio - Ratio(nearest)) * 1e6) / 1e6;
    return absl::InvalidArgumentError(absl::StrCat(
        "target.tolerance ", spec_.tolerance, " is finer than the steps of method ",
        std::string(SearchMethodName(spec_.method)), ": its subnet has ratio ", Ratio(nearest),
        "; raise target.tolerance to ", needed, ", or lower target.align.mlp"));
  }

  const ModelConfig& config_;
  const JobSpec& spec_;
  const int64_t dense_;
  ParameterRange range_;
  std::vector<Module> modules_;
  int64_t fixed_ = 0;  // embeddings and norms: no module is dropped
};

}  // namespace

absl::StatusOr<Subnet> BaselineSubnet(const ModelConfig& config, const JobSpec& spec,
                                      const UnitScores& scores) {
  ESPALIER_RETURN_IF_ERROR(CheckUnitScores(scores, config));
  return Chooser(config, spec, scores).Choose();
}

}  // namespace espalier::search
