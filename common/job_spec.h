// A job as its owner writes it: YAML (docs/job.md lists every key and where its default comes
// from).
#ifndef ESPALIER_COMMON_JOB_SPEC_H_
#define ESPALIER_COMMON_JOB_SPEC_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model_config.h"
#include "common/text_format.h"

namespace espalier {

enum class Precision { kFloat32, kBFloat16 };
std::string_view PrecisionName(Precision precision);  // "float32", "bfloat16"
absl::StatusOr<Precision> ParsePrecision(std::string_view name);

struct TextSpec {
  std::string path;
  TextFormat format = TextFormat::kPlain;
};

// Probabilities of one kind of mutation (paper section 3.3; docs/method.md, "Search").
struct MutationSpec {
  double mask = 0.3;   // P_m: draw a module's mask anew although its ratio stays
  double ratio = 0.1;  // P_s: draw a module's ratio anew from the search space
  double depth = 0.1;  // P_d: change which layers are present
};

// What the search begins with: the initial architecture with its most important units, or with
// random ones.
enum class InitialUnits { kImportance, kRandom };

struct SearchSpec {
  int64_t generations = 50;
  int64_t mutations = 50;          // offspring of the survivors, per generation
  int64_t crossovers = 30;         // per generation
  int64_t initial_mutations = 20;  // offspring of the initial architecture, per generation
  int64_t survivors = 10;          // k of top-k
  int64_t sequences = 5;           // of the text, for the fitness
  InitialUnits initial = InitialUnits::kImportance;
  MutationSpec mutation;
  MutationSpec initial_mutation{.mask = 0.6, .ratio = 0.3, .depth = 0.1};
  double mask_overlap = 0.8;  // α: the least share of a module's mask that a mutation keeps
  // Lowest ratio of a module in the search space; 0 = from the paper's table by target ratio.
  double attention_min_ratio = 0;
  double mlp_min_ratio = 0;
  // Fewest layers present; 0 = from the paper's table by depth and target ratio.
  int64_t min_layers = 0;

  int64_t population() const { return mutations + crossovers + initial_mutations; }
};

// kPaper: the published search, over masks, by the perplexity of inherited weights. kEspalier:
// sizes are allocated over modules, by the divergence of repaired candidates from the dense model.
// The others are baselines, which choose one subnet and search nothing (docs/method.md,
// "Baselines").
enum class SearchMethod { kPaper, kEspalier, kRandom, kMagnitude, kWandaSp, kFlap };
std::string_view SearchMethodName(SearchMethod method);  // "paper", "espalier", "wanda-sp", ...
inline bool IsBaseline(SearchMethod method) { return method > SearchMethod::kEspalier; }
absl::StatusOr<SearchMethod> ParseSearchMethod(std::string_view name);

// The search that allocates sizes over modules (coordinator/search/allocation_search.h). Windows
// are of `sequences`; one that is longer takes them all.
struct AllocationSpec {
  int64_t sequences = 32;             // of the text, that windows are taken from
  int64_t sequence_length = 0;        // 0 = min(512, the job's)
  int64_t generations = 24;           // rounds of offspring and finalists
  int64_t offspring = 8;              // per round
  int64_t finalists = 2;              // the best offspring, measured again beside their parent
  int64_t sensitivity_sequences = 1;  // for each module cut alone
  int64_t offspring_sequences = 1;    // for each offspring
  int64_t finalist_sequences = 2;     // for each finalist and for the start
};

// Which modules may be smaller; the others stay whole.
enum class CutModules { kBoth, kAttention, kMlp };

// What the fitness of a candidate is. kAuto: reformed and divergence for SearchMethod::kEspalier,
// else inherited and perplexity.
enum class FitnessWeights { kAuto, kInherited, kReformed };
enum class FitnessMeasure { kAuto, kPerplexity, kDivergence };

struct FitnessSpec {
  FitnessWeights weights = FitnessWeights::kAuto;
  FitnessMeasure measure = FitnessMeasure::kAuto;
};

// kBias keeps the inherited weights and gives o and down biases (FLAP's compensation). kProjected
// is the closed form, of attention with the values' most important directions instead of those of
// the pairs that stay, and with factors of these pairs. kAuto: progressive for
// SearchMethod::kEspalier, the closed form for kPaper, kBias for kFlap, none for the other
// baselines.
enum class ReformationMethod { kNone, kClosedForm, kAdmm, kProgressive, kAuto, kBias, kProjected };

struct ReformationSpec {
  ReformationMethod method = ReformationMethod::kClosedForm;
  double damping = 1e-3;    // closed form, projected: λ = damping · mean(diag H)
  double rho = 1;           // ADMM's penalty, on the Gram matrix normalised to unit diagonal
  int64_t iterations = 30;  // ADMM
  // Progressive: λ of the output weights' fit and of the input map, each relative as above.
  double progressive_damping = 0.2;
  double input_damping = 1e-2;
};

struct JobSpec {
  std::string name;  // default: the output folder's name
  SearchMethod method = SearchMethod::kEspalier;
  std::string model;  // folder of the dense model
  Precision precision = Precision::kFloat32;
  TextSpec text;                // calibration and search
  TextSpec eval_text;           // held out; empty path: no held-out figures, and the table says so
  int64_t sequence_length = 0;  // 0 = min(2048, the model's max_position_embeddings)
  double ratio = 0;             // γ, of all parameters; required
  std::vector<double> more_ratios{};  // further sizes, found one after the other in the same job
  double tolerance = 0.005;           // legal: ratio in [γ − tolerance, γ]
  CutModules cut = CutModules::kBoth;
  // Sizes are multiples of these; 0 = 64 and 8, halved for small models (see ResolveDefaults).
  int64_t align_mlp = 0;
  int64_t align_head_dim = 0;
  uint64_t seed = 0;
  int64_t stages = 0;    // workers that hold the model together; 0: the fewest whose memory it fits
  int64_t priority = 0;  // among the jobs of a coordinator: those with a higher one come first
  std::string output;    // result folder; must not exist yet
  int64_t calibration_sequences = 128;
  double importance_damping = 0.01;  // λ of Φ, relative to mean(diag H)
  int64_t eval_sequences = 0;        // 0 = the whole text
  FitnessSpec fitness;
  // Tokens that candidates may be scored on, each counted as often as it is; 0 = no limit. The
  // search ends before the generation that would exceed it.
  int64_t budget_tokens = 0;
  SearchSpec search;
  AllocationSpec allocation;
  ReformationSpec reformation{.method = ReformationMethod::kAuto};

  // All sizes, in the order in which they are found.
  std::vector<double> ratios() const {
    std::vector<double> all = {ratio};
    all.insert(all.end(), more_ratios.begin(), more_ratios.end());
    return all;
  }

  // What candidates are scored on.
  int64_t search_sequences() const {
    return method == SearchMethod::kEspalier ? allocation.sequences : search.sequences;
  }
  int64_t search_sequence_length() const {
    return method == SearchMethod::kEspalier ? allocation.sequence_length : sequence_length;
  }
  // How candidates are repaired before they are scored.
  ReformationSpec repair() const {
    const bool reformed = fitness.weights == FitnessWeights::kAuto
                              ? method == SearchMethod::kEspalier
                              : fitness.weights == FitnessWeights::kReformed;
    ReformationSpec repair = reformation;
    repair.method = !reformed                           ? ReformationMethod::kNone
                    : method == SearchMethod::kEspalier ? ReformationMethod::kProjected
                                                        : ReformationMethod::kClosedForm;
    return repair;
  }
  // Whether candidates are scored by their divergence from the dense model; else by perplexity.
  bool by_divergence() const {
    return fitness.measure == FitnessMeasure::kAuto
               ? method == SearchMethod::kEspalier
               : fitness.measure == FitnessMeasure::kDivergence;
  }
  // Whether a fitness is the perplexity on all search sequences.
  bool fitness_is_perplexity() const {
    return method != SearchMethod::kEspalier && !by_divergence();
  }
};

// Strict: every error says file:line:column and what to do; unknown keys are refused with the
// nearest known one. `source` names the file. Does not require that required keys are present
// (flags may add them): call ValidateJobSpec afterwards. Relative paths are kept as they are, so
// they are resolved against the current folder, not the file's.
absl::StatusOr<JobSpec> ParseJobSpec(std::string_view yaml, std::string_view source);
absl::StatusOr<JobSpec> ReadJobSpec(const std::filesystem::path& file);

// Checks what can be checked without opening any file: required values, ranges.
absl::Status ValidateJobSpec(const JobSpec& spec);

// Validates, fills every value that is 0 (or empty) for "default" from the model, and refuses a
// target that the model cannot reach (the embedding alone may be larger), saying the lowest
// possible ratio. docs/job.md states each rule. The search space depends on the ratio: with several
// sizes it stays open here, and each size's own (TargetSpecs) fills it.
absl::StatusOr<JobSpec> ResolveDefaults(const JobSpec& spec, const ModelConfig& config);

// The job of each size alone, in their order; of a job with one size, itself.
std::vector<JobSpec> TargetSpecs(const JobSpec& spec);

// "0.7": the name of a size in messages, and of its folder in a result with several.
std::string RatioName(double ratio);

// YAML that ParseJobSpec reads back to the same value, every key written out (but a number outside
// its range, such as a ratio not yet given, is left out). Strings must be UTF-8.
std::string JobSpecToYaml(const JobSpec& spec);

}  // namespace espalier

#endif  // ESPALIER_COMMON_JOB_SPEC_H_
