// The keys of a job file, once: the parser, the writer and the range checks all walk this list.
//
// A visitor has
//   Group(key, shorthand, body): a map; a lone scalar in its place is the key `shorthand`
//   Text(key, value), Choice(key, value, names), Integer(key, value, range),
//   Seed(key, value), Real(key, value, range)
//   Reals(key, first, others, range): a number, or a list of several
// Internal to job_spec*.cc.
#ifndef ESPALIER_COMMON_JOB_SPEC_FIELDS_H_
#define ESPALIER_COMMON_JOB_SPEC_FIELDS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/job_spec.h"

namespace espalier::job_spec_internal {

// Legal values of a number. Real ranges exclude `low` if `open`; `zero` also admits 0, which then
// stands for a default that depends on the model.
template <typename T>
struct Range {
  T low;
  T high;
  bool open = false;
  bool zero = false;

  // False for NaN.
  bool Contains(T value) const {
    return (zero && value == 0) || ((open ? value > low : value >= low) && value <= high);
  }
};

inline constexpr std::array<std::string_view, 2> kPrecisionNames = {"float32", "bfloat16"};
inline constexpr std::array<std::string_view, 2> kTextFormatNames = {"wikitext", "plain"};
inline constexpr std::array<std::string_view, 6> kSearchMethodNames = {
    "paper", "espalier", "random", "magnitude", "wanda-sp", "flap"};
inline constexpr std::array<std::string_view, 2> kInitialUnitsNames = {"importance", "random"};
inline constexpr std::array<std::string_view, 3> kCutModulesNames = {"both", "attention", "mlp"};
inline constexpr std::array<std::string_view, 3> kFitnessWeightsNames = {"auto", "inherited",
                                                                         "reformed"};
inline constexpr std::array<std::string_view, 3> kFitnessMeasureNames = {"auto", "perplexity",
                                                                         "kl"};
inline constexpr std::array<std::string_view, 7> kReformationNames = {
    "none", "closed_form", "admm", "progressive", "auto", "bias", "projected"};

inline constexpr int64_t kMaxCount = 1'000'000;
inline constexpr int64_t kMostTokens = 1'000'000'000'000'000;
inline constexpr Range<int64_t> kCount{1, kMaxCount};
inline constexpr Range<int64_t> kCountOrNone{0, kMaxCount};
inline constexpr Range<int64_t> kPriority{-100, 100};
inline constexpr Range<double> kProbability{0, 1};
inline constexpr Range<double> kShareOrDefault{0, 1, /*open=*/true, /*zero=*/true};
inline constexpr Range<double> kPositive{0, 1000, /*open=*/true};

template <typename Visitor, typename Mutation>
void VisitMutation(Visitor& v, Mutation& mutation) {
  v.Real("mask", mutation.mask, kProbability);
  v.Real("ratio", mutation.ratio, kProbability);
  v.Real("depth", mutation.depth, kProbability);
}

template <typename Visitor, typename Search>
void VisitSearch(Visitor& v, Search& search) {
  v.Integer("generations", search.generations, kCount);
  v.Integer("mutations", search.mutations, kCountOrNone);
  v.Integer("crossovers", search.crossovers, kCountOrNone);
  v.Integer("initial_mutations", search.initial_mutations, kCountOrNone);
  v.Integer("survivors", search.survivors, kCount);
  v.Integer("sequences", search.sequences, kCount);
  v.Choice("initial", search.initial, kInitialUnitsNames);
  v.Group("mutation", "", [&] { VisitMutation(v, search.mutation); });
  v.Group("initial_mutation", "", [&] { VisitMutation(v, search.initial_mutation); });
  v.Real("mask_overlap", search.mask_overlap, kProbability);
  v.Real("attention_min_ratio", search.attention_min_ratio, kShareOrDefault);
  v.Real("mlp_min_ratio", search.mlp_min_ratio, kShareOrDefault);
  v.Integer("min_layers", search.min_layers, kCountOrNone);
}

template <typename Visitor, typename Allocation>
void VisitAllocation(Visitor& v, Allocation& allocation) {
  v.Integer("sequences", allocation.sequences, kCount);
  v.Integer("sequence_length", allocation.sequence_length,
            Range<int64_t>{2, kMaxCount, /*open=*/false, /*zero=*/true});
  v.Integer("generations", allocation.generations, kCountOrNone);
  v.Integer("offspring", allocation.offspring, kCount);
  v.Integer("finalists", allocation.finalists, kCount);
  v.Integer("sensitivity_sequences", allocation.sensitivity_sequences, kCount);
  v.Integer("offspring_sequences", allocation.offspring_sequences, kCount);
  v.Integer("finalist_sequences", allocation.finalist_sequences, kCount);
}

template <typename Visitor, typename Target>
void VisitTarget(Visitor& v, Target& spec) {
  v.Reals("ratio", spec.ratio, spec.more_ratios, Range<double>{0, 1, /*open=*/true});
  v.Real("tolerance", spec.tolerance, Range<double>{0, 0.5, /*open=*/true});
  v.Choice("cut", spec.cut, kCutModulesNames);
  v.Group("align", "", [&] {
    v.Integer("mlp", spec.align_mlp, kCountOrNone);
    v.Integer("head_dim", spec.align_head_dim, kCountOrNone);
  });
}

// `spec` is a JobSpec or a const JobSpec.
template <typename Visitor, typename Spec>
void VisitJobSpec(Visitor& v, Spec& spec) {
  v.Text("name", spec.name);
  v.Choice("method", spec.method, kSearchMethodNames);
  v.Group("model", "path", [&] {
    v.Text("path", spec.model);
    v.Choice("precision", spec.precision, kPrecisionNames);
  });
  v.Group("text", "path", [&] {
    v.Text("path", spec.text.path);
    v.Choice("format", spec.text.format, kTextFormatNames);
  });
  v.Group("eval_text", "path", [&] {
    v.Text("path", spec.eval_text.path);
    v.Choice("format", spec.eval_text.format, kTextFormatNames);
    v.Integer("sequences", spec.eval_sequences, kCountOrNone);
  });
  v.Integer("sequence_length", spec.sequence_length,
            Range<int64_t>{2, kMaxCount, /*open=*/false, /*zero=*/true});
  v.Group("target", "ratio", [&] { VisitTarget(v, spec); });
  v.Seed("seed", spec.seed);
  v.Integer("stages", spec.stages, kCountOrNone);
  v.Integer("priority", spec.priority, kPriority);
  v.Text("output", spec.output);
  v.Group("calibration", "", [&] {
    v.Integer("sequences", spec.calibration_sequences, kCount);
    v.Real("damping", spec.importance_damping, kPositive);
  });
  v.Group("fitness", "", [&] {
    v.Choice("weights", spec.fitness.weights, kFitnessWeightsNames);
    v.Choice("measure", spec.fitness.measure, kFitnessMeasureNames);
  });
  v.Integer("budget_tokens", spec.budget_tokens, Range<int64_t>{0, kMostTokens});
  v.Group("search", "", [&] { VisitSearch(v, spec.search); });
  v.Group("allocation", "", [&] { VisitAllocation(v, spec.allocation); });
  v.Group("reformation", "", [&] {
    v.Choice("method", spec.reformation.method, kReformationNames);
    v.Real("damping", spec.reformation.damping, kPositive);
    v.Real("rho", spec.reformation.rho, kPositive);
    v.Integer("iterations", spec.reformation.iterations, kCount);
    v.Real("progressive_damping", spec.reformation.progressive_damping, kPositive);
    v.Real("input_damping", spec.reformation.input_damping, kPositive);
  });
}

// "must be a number greater than 0 and at most 1".
std::string Describe(const Range<double>& range);
std::string Describe(const Range<int64_t>& range);

// Why a name or a path cannot be taken; empty when it can.
std::string TextProblem(std::string_view value);

// The shortest decimal that reads back to the same value.
std::string ShortestDecimal(double value);

}  // namespace espalier::job_spec_internal

#endif  // ESPALIER_COMMON_JOB_SPEC_FIELDS_H_
