#include "common/job_spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/job_spec_fields.h"
#include "common/status_macros.h"
#include "common/subnet.h"
#include "common/utf8.h"

namespace espalier {
namespace job_spec_internal {

std::string ShortestDecimal(double value) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return std::string(buffer.data(), end);
}

std::string Describe(const Range<double>& range) {
  return absl::StrCat("it must be a number ", range.open ? "greater than " : "from ",
                      ShortestDecimal(range.low), range.open ? " and at most " : " to ",
                      ShortestDecimal(range.high), range.zero ? ", or 0 for the default" : "");
}

std::string Describe(const Range<int64_t>& range) {
  return absl::StrCat("it must be a whole number from ", range.low, " to ", range.high,
                      range.zero ? ", or 0 for the default" : "");
}

// Longer paths open no file on Linux. Also, a specification that was accepted must be one that can
// be written and read again, whatever it takes to escape its characters.
constexpr size_t kMaxTextBytes = 4096;

std::string TextProblem(std::string_view value) {
  if (value.find('\0') != std::string::npos) return "contains a NUL character";
  if (value.size() > kMaxTextBytes) {
    return absl::StrCat("is ", value.size(), " bytes long; at most ", kMaxTextBytes, " are taken");
  }
  // Protocol buffers and YAML carry nothing else.
  if (InvalidUtf8Offset(value)) return "is not UTF-8; rename the file or folder";
  return "";
}

namespace {

// Range checks for values that did not come from a file: flags, messages.
class RangeChecker {
 public:
  template <typename Body>
  void Group(std::string_view key, std::string_view, Body body) {
    const std::string outer = path_;
    path_ = Name(key);
    body();
    path_ = outer;
  }
  void Text(std::string_view key, const std::string& value) {
    if (const std::string problem = TextProblem(value); !problem.empty()) Fail(key, problem);
  }
  template <typename Enum, typename Names>
  void Choice(std::string_view, Enum, const Names&) {}
  void Seed(std::string_view, uint64_t) {}
  void Integer(std::string_view key, int64_t value, const Range<int64_t>& range) {
    if (!range.Contains(value)) Fail(key, absl::StrCat("is ", value, "; ", Describe(range)));
  }
  void Real(std::string_view key, double value, const Range<double>& range) {
    if (!range.Contains(value)) {
      Fail(key, absl::StrCat("is ", ShortestDecimal(value), "; ", Describe(range)));
    }
  }
  void Reals(std::string_view key, double first, const std::vector<double>& others,
             const Range<double>& range) {
    Real(key, first, range);
    for (const double other : others) Real(key, other, range);
  }
  const absl::Status& status() const { return status_; }

 private:
  std::string Name(std::string_view key) const {
    return path_.empty() ? std::string(key) : absl::StrCat(path_, ".", std::string(key));
  }
  void Fail(std::string_view key, const std::string& problem) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(Name(key), " ", problem));
  }

  std::string path_;
  absl::Status status_;
};

absl::Status CheckRequired(const JobSpec& spec) {
  if (spec.model.empty()) {
    return absl::InvalidArgumentError(
        "no model: give the dense model's folder (model.path in the job file, or --model)");
  }
  if (spec.text.path.empty()) {
    return absl::InvalidArgumentError(
        "no text: give the calibration text's file (text.path in the job file, or --text)");
  }
  if (spec.ratio == 0) {
    return absl::InvalidArgumentError(
        "no target: give the share of all parameters to keep (target.ratio in the job file, or "
        "--ratio)");
  }
  if (spec.output.empty()) {
    return absl::InvalidArgumentError(
        "no output: give the folder for the result (output in the job file, or --output)");
  }
  return absl::OkStatus();
}

absl::Status CheckTogether(const JobSpec& spec) {
  const SearchSpec& search = spec.search;
  if (search.population() == 0) {
    return absl::InvalidArgumentError(
        "search.mutations, search.crossovers and search.initial_mutations are all 0: nothing would "
        "be searched; raise one of them");
  }
  if (search.crossovers > 0 && search.survivors < 2) {
    return absl::InvalidArgumentError(
        "search.survivors is 1, but a crossover needs two parents: raise it, or set "
        "search.crossovers to 0");
  }
  std::vector<double> ratios = spec.ratios();
  std::sort(ratios.begin(), ratios.end());
  const auto twice = std::adjacent_find(ratios.begin(), ratios.end());
  if (twice != ratios.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.ratio has ", ShortestDecimal(*twice), " twice; remove one of them"));
  }
  const bool scores_units = IsBaseline(spec.method) && spec.method != SearchMethod::kRandom;
  if (spec.cut != CutModules::kBoth && scores_units) {
    return absl::InvalidArgumentError(absl::StrCat(
        "target.cut: method ", std::string(SearchMethodName(spec.method)),
        " cuts attention and MLP together; leave the key out, or choose another method"));
  }
  if (spec.reformation.method == ReformationMethod::kBias && !scores_units) {
    return absl::InvalidArgumentError(absl::StrCat(
        "reformation.method is bias, but method ", std::string(SearchMethodName(spec.method)),
        " leaves no room for biases in target.ratio; only flap, wanda-sp and magnitude "
        "do"));
  }
  if (spec.align_head_dim > 1 && spec.align_head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.align.head_dim is ", spec.align_head_dim,
                     "; rotary pairs have two dims, so it must be even (or 1: free)"));
  }
  return absl::OkStatus();
}

// One column of the paper's search space (its appendix; docs/method.md, "Search"): the lowest ratio
// of a module that is present, and the fewest layers for models of 32, 40, 60 and 80 layers.
struct SearchSpaceRow {
  double target;
  double attention;
  double mlp;
  std::array<int64_t, 4> layers;
};
constexpr std::array<int64_t, 4> kTableDepths = {32, 40, 60, 80};
constexpr std::array<SearchSpaceRow, 5> kSearchSpace = {{
    {0.9, 0.9, 0.6, {32, 40, 60, 80}},
    {0.8, 0.8, 0.4, {32, 40, 60, 80}},
    {0.7, 0.3, 0.2, {30, 36, 56, 76}},
    {0.6, 0.6, 0.1, {28, 32, 52, 72}},
    {0.5, 0.6, 0.1, {28, 32, 52, 72}},
}};
// The coarser of the published steps of a ratio (0.01 for attention, 0.05 for the MLP).
constexpr double kMargin = 0.05;

// Targets between two rows, such as 0.75, take the lower one: it is the larger space.
const SearchSpaceRow& RowOf(double target) {
  constexpr double kEpsilon = 1e-9;
  return *std::min_element(kSearchSpace.begin(), kSearchSpace.end(),
                           [&](const SearchSpaceRow& a, const SearchSpaceRow& b) {
                             const double distance_a = std::abs(a.target - target);
                             const double distance_b = std::abs(b.target - target);
                             if (std::abs(distance_a - distance_b) > kEpsilon) {
                               return distance_a < distance_b;
                             }
                             return a.target < b.target;
                           });
}

int64_t TableLayers(const SearchSpaceRow& row, int64_t num_layers) {
  size_t nearest = 0;
  for (size_t i = 1; i < kTableDepths.size(); ++i) {
    if (std::abs(kTableDepths[i] - num_layers) < std::abs(kTableDepths[nearest] - num_layers)) {
      nearest = i;
    }
  }
  const int64_t depth = kTableDepths[nearest];
  return (num_layers * row.layers[nearest] + depth - 1) / depth;
}

// What is counted in every subnet, what can be cut, and in which steps.
struct Sizes {
  double dense;           // parameters of the dense model
  double fixed;           // of the embeddings and the final norm
  double budget;          // left for the blocks at the target
  double attention;       // of one layer
  double mlp;             // of one layer
  double norm;            // of one module
  double attention_step;  // the smallest step of an attention's ratio (all groups alike)
  double mlp_step;
};

Sizes SizesOf(const JobSpec& spec, const ModelConfig& config) {
  Sizes sizes;
  sizes.dense = static_cast<double>(DenseParameters(config));
  sizes.attention =
      static_cast<double>(ParametersPerPair(config) * config.pairs() * config.num_kv_heads);
  sizes.mlp = static_cast<double>(ParametersPerChannel(config) * config.intermediate_size);
  sizes.norm = static_cast<double>(config.hidden_size);
  sizes.fixed = sizes.dense - static_cast<double>(config.num_layers) *
                                  (sizes.attention + sizes.mlp + 2 * sizes.norm);
  sizes.budget = spec.ratio * sizes.dense - sizes.fixed;
  sizes.attention_step = static_cast<double>(std::max<int64_t>(2, spec.align_head_dim)) /
                         static_cast<double>(config.head_dim);
  sizes.mlp_step =
      static_cast<double>(spec.align_mlp) / static_cast<double>(config.intermediate_size);
  return sizes;
}

absl::Status ResolveAlignment(const ModelConfig& config, JobSpec& spec) {
  if (spec.align_mlp == 0) {
    spec.align_mlp = 64;
    while (spec.align_mlp > 1 && spec.align_mlp * 24 > config.intermediate_size) {
      spec.align_mlp /= 2;
    }
  }
  if (spec.align_head_dim == 0) {
    spec.align_head_dim = 8;
    while (spec.align_head_dim > 2 && spec.align_head_dim * 8 > config.head_dim) {
      spec.align_head_dim /= 2;
    }
  }
  if (spec.align_mlp > config.intermediate_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.align.mlp is ", spec.align_mlp, ", more than the model's ",
                     config.intermediate_size, " intermediate channels; lower it"));
  }
  if (spec.align_head_dim > config.head_dim) {
    return absl::InvalidArgumentError(absl::StrCat("target.align.head_dim is ", spec.align_head_dim,
                                                   ", more than the model's ", config.head_dim,
                                                   " dims a head; lower it"));
  }
  return absl::OkStatus();
}

// In the paper's search space, a module that is not cut has but one size, and is in every layer.
void ResolveCut(const ModelConfig& config, JobSpec& spec) {
  if (spec.cut == CutModules::kBoth) return;
  spec.search.min_layers = config.num_layers;
  (spec.cut == CutModules::kMlp ? spec.search.attention_min_ratio : spec.search.mlp_min_ratio) = 1;
}

// The smallest subnet: as few layers as allowed, each with both modules (method paper) or with the
// smaller one; with method espalier and target.cut, what is left whole.
absl::Status CheckReachable(const JobSpec& spec, const ModelConfig& config, const Sizes& sizes) {
  const SearchSpec& search = spec.search;
  if (search.min_layers > config.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("search.min_layers is ", search.min_layers,
                                                   ", but the model has ", config.num_layers,
                                                   " layers"));
  }
  const double attention_unit = sizes.attention_step / static_cast<double>(config.num_kv_heads);
  const double attention = sizes.attention * std::max(search.attention_min_ratio, attention_unit);
  const double mlp = sizes.mlp * std::max(search.mlp_min_ratio, sizes.mlp_step);
  const double layers = static_cast<double>(std::max<int64_t>(1, search.min_layers));
  double smallest = std::min(attention, mlp) + sizes.norm;
  if (spec.method == SearchMethod::kPaper) {
    const double all_groups =
        sizes.attention * std::max(search.attention_min_ratio, sizes.attention_step);
    smallest = all_groups + mlp + 2 * sizes.norm;
  } else if (spec.cut != CutModules::kBoth) {
    smallest = (spec.cut == CutModules::kMlp ? sizes.attention : sizes.mlp) + sizes.norm;
  }
  const double lowest = sizes.fixed + layers * smallest;
  if (lowest <= spec.ratio * sizes.dense) return absl::OkStatus();
  const bool restricted =
      search.min_layers > 1 || search.attention_min_ratio > 0 || search.mlp_min_ratio > 0;
  // Rounded up, so that the number named is itself reachable.
  return absl::InvalidArgumentError(absl::StrFormat(
      "target.ratio is %s, but the lowest possible ratio of this model is %.4f: embeddings and "
      "final norm alone are %.4f of its parameters; raise the target%s",
      ShortestDecimal(spec.ratio), std::ceil(lowest / sizes.dense * 1e4) / 1e4,
      sizes.fixed / sizes.dense,
      spec.cut != CutModules::kBoth ? ", or let target.cut be both"
      : restricted                  ? ", or lower search.min_layers, search.attention_min_ratio or "
                                      "search.mlp_min_ratio"
                                    : ""));
}

// The table speaks of models whose embeddings are a few percent. Where they are more, the blocks
// are cut harder than the target says, so the space is widened until it holds the architecture with
// equal ratios everywhere, with room around it. In whole hundredths, for people.
double WithUniform(double table, double uniform, double step) {
  const double wide = std::floor((uniform - std::max(kMargin, step)) * 100) / 100;
  return std::max(step, std::min(table, wide));
}

void ResolveSearchSpace(const ModelConfig& config, const Sizes& sizes, JobSpec& spec) {
  const SearchSpaceRow& row = RowOf(spec.ratio);
  SearchSpec& search = spec.search;
  const double uniform = sizes.budget / (sizes.dense - sizes.fixed);
  if (search.attention_min_ratio == 0) {
    search.attention_min_ratio = WithUniform(row.attention, uniform, sizes.attention_step);
  }
  if (search.mlp_min_ratio == 0) {
    search.mlp_min_ratio = WithUniform(row.mlp, uniform, sizes.mlp_step);
  }
  if (search.min_layers == 0) {
    const double smallest_layer = sizes.attention * search.attention_min_ratio +
                                  sizes.mlp * search.mlp_min_ratio + 2 * sizes.norm;
    const auto affordable = static_cast<int64_t>(sizes.budget / smallest_layer);
    search.min_layers = std::clamp<int64_t>(affordable, 1, TableLayers(row, config.num_layers));
  }
}

ReformationMethod ReformationFor(SearchMethod method) {
  if (method == SearchMethod::kEspalier) return ReformationMethod::kProgressive;
  if (method == SearchMethod::kFlap) return ReformationMethod::kBias;
  return IsBaseline(method) ? ReformationMethod::kNone : ReformationMethod::kClosedForm;
}

std::string FolderName(const std::string& output) {
  const std::filesystem::path path = std::filesystem::path(output).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

}  // namespace
}  // namespace job_spec_internal

std::string_view PrecisionName(Precision precision) {
  return job_spec_internal::kPrecisionNames[static_cast<size_t>(precision)];
}

absl::StatusOr<Precision> ParsePrecision(std::string_view name) {
  if (name == "float32") return Precision::kFloat32;
  if (name == "bfloat16") return Precision::kBFloat16;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown precision \"", std::string(name), "\": use float32 or bfloat16"));
}

std::string_view SearchMethodName(SearchMethod method) {
  return job_spec_internal::kSearchMethodNames[static_cast<size_t>(method)];
}

absl::StatusOr<SearchMethod> ParseSearchMethod(std::string_view name) {
  const auto& names = job_spec_internal::kSearchMethodNames;
  const auto* const found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<SearchMethod>(found - names.begin());
  return absl::InvalidArgumentError(
      absl::StrCat("unknown method \"", std::string(name),
                   "\": use espalier or paper, or a baseline: flap, wanda-sp, magnitude, random"));
}

absl::Status ValidateJobSpec(const JobSpec& spec) {
  ESPALIER_RETURN_IF_ERROR(job_spec_internal::CheckRequired(spec));
  job_spec_internal::RangeChecker ranges;
  job_spec_internal::VisitJobSpec(ranges, spec);
  ESPALIER_RETURN_IF_ERROR(ranges.status());
  return job_spec_internal::CheckTogether(spec);
}

absl::StatusOr<JobSpec> ResolveDefaults(const JobSpec& spec, const ModelConfig& config) {
  ESPALIER_RETURN_IF_ERROR(ValidateJobSpec(spec));
  if (config.has_biases()) {
    return absl::UnimplementedError(
        absl::StrCat(spec.model,
                     ": the linears have biases; a job needs a model without, which a subnet with "
                     "compensating biases no longer is"));
  }
  JobSpec resolved = spec;
  if (resolved.name.empty()) resolved.name = job_spec_internal::FolderName(spec.output);
  if (resolved.sequence_length == 0) {
    resolved.sequence_length = std::min<int64_t>(2048, config.max_position_embeddings);
  }
  if (resolved.allocation.sequence_length == 0) {
    resolved.allocation.sequence_length = std::min<int64_t>(512, resolved.sequence_length);
  }
  if (resolved.reformation.method == ReformationMethod::kAuto) {
    resolved.reformation.method = job_spec_internal::ReformationFor(resolved.method);
  }
  ESPALIER_RETURN_IF_ERROR(job_spec_internal::ResolveAlignment(config, resolved));
  job_spec_internal::ResolveCut(config, resolved);
  for (const JobSpec& target : TargetSpecs(resolved)) {
    ESPALIER_RETURN_IF_ERROR(job_spec_internal::CheckReachable(
        target, config, job_spec_internal::SizesOf(target, config)));
  }
  if (resolved.more_ratios.empty()) {
    job_spec_internal::ResolveSearchSpace(config, job_spec_internal::SizesOf(resolved, config),
                                          resolved);
  }
  return resolved;
}

std::vector<JobSpec> TargetSpecs(const JobSpec& spec) {
  std::vector<JobSpec> targets;
  for (const double ratio : spec.ratios()) {
    JobSpec target = spec;
    target.ratio = ratio;
    target.more_ratios.clear();
    targets.push_back(std::move(target));
  }
  return targets;
}

std::string RatioName(double ratio) { return job_spec_internal::ShortestDecimal(ratio); }

}  // namespace espalier
