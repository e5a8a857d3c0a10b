#include "coordinator/search/allocation_search.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rng.h"
#include "common/status_macros.h"
#include "coordinator/search/allocation.h"
#include "coordinator/search/allocation_moves.h"
#include "coordinator/search/damage_curve.h"
#include "coordinator/search/module_options.h"
#include "coordinator/search/population.h"
#include "coordinator/search/search_space.h"
#include "coordinator/search/sequence_windows.h"

namespace espalier {
namespace {

using search::Allocation;
using search::AllocationMoves;
using search::CostedModules;
using search::MeasuredOption;
using search::ModuleTable;
using search::ParameterRange;
using search::SequenceWindows;

// Drafts of an offspring, of which one is taken by its predicted damage. Every fourth slot takes
// its first draft instead: a module whose prediction is much too high would else never be tried.
constexpr int kDrafts = 8;
constexpr int64_t kBlindSlots = 4;

absl::Status CheckCount(const char* key, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, " is ", value, "; it must be at least ", least));
}

absl::Status CheckCounts(const JobSpec& spec) {
  const AllocationSpec& allocation = spec.allocation;
  ESPALIER_RETURN_IF_ERROR(CheckCount("allocation.generations", allocation.generations, 0));
  ESPALIER_RETURN_IF_ERROR(CheckCount("allocation.offspring", allocation.offspring, 1));
  ESPALIER_RETURN_IF_ERROR(CheckCount("allocation.finalists", allocation.finalists, 1));
  ESPALIER_RETURN_IF_ERROR(
      CheckCount("allocation.sensitivity_sequences", allocation.sensitivity_sequences, 1));
  ESPALIER_RETURN_IF_ERROR(
      CheckCount("allocation.offspring_sequences", allocation.offspring_sequences, 1));
  ESPALIER_RETURN_IF_ERROR(
      CheckCount("allocation.finalist_sequences", allocation.finalist_sequences, 1));
  return CheckCount("allocation.sequences", spec.allocation.sequences, 1);
}

CostedModules SizesOf(const ModuleTable& table) {
  CostedModules modules(table.modules());
  for (size_t m = 0; m < modules.size(); ++m) {
    for (const auto& option : table.options(m)) {
      modules[m].push_back({.parameters = option.parameters});
    }
  }
  return modules;
}

// Legal totals of the modules.
ParameterRange ModuleRange(const ModuleTable& table, const JobSpec& spec) {
  const ParameterRange range = search::LegalRange(spec, table.dense_parameters());
  return {.low = range.low - table.fixed_parameters(),
          .high = range.high - table.fixed_parameters()};
}

// A module cut alone.
struct Probe {
  size_t module = 0;
  int32_t option = 0;
};

std::vector<Probe> AllProbes(const ModuleTable& table) {
  std::vector<Probe> probes;
  for (size_t m = 0; m < table.modules(); ++m) {
    for (const int32_t option : search::ProbesOf(table.options(m))) {
      probes.push_back({.module = m, .option = option});
    }
  }
  return probes;
}

// The damage of every option of every module, from what the probes scored.
CostedModules PredictDamages(const ModuleTable& table, const std::vector<Probe>& probes,
                             const std::vector<double>& fitness) {
  std::vector<std::vector<MeasuredOption>> measured(table.modules());
  double most = 0;
  for (size_t i = 0; i < probes.size(); ++i) {
    measured[probes[i].module].push_back({.option = probes[i].option, .damage = fitness[i]});
    if (std::isfinite(fitness[i])) most = std::max(most, fitness[i]);
  }
  CostedModules modules = SizesOf(table);
  for (size_t m = 0; m < modules.size(); ++m) {
    const std::vector<double> damages =
        search::OptionDamages(table.options(m), measured[m], most > 0 ? most : 1);
    for (size_t i = 0; i < damages.size(); ++i) modules[m][i].damage = damages[i];
  }
  return modules;
}

absl::Status Unreachable(const ModuleTable& table, const JobSpec& spec,
                         const std::optional<Allocation>& fullest) {
  const auto ratio = [&](int64_t parameters) {
    return static_cast<double>(parameters) / static_cast<double>(table.dense_parameters());
  };
  if (!fullest) {
    int64_t whole = 0;  // modules that are not cut
    int64_t smallest = table.dense_parameters();
    for (size_t m = 0; m < table.modules(); ++m) {
      const auto& options = table.options(m);
      whole += options.front().parameters;
      if (options.size() > 1) smallest = std::min(smallest, options[1].parameters);
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "target.ratio ", spec.ratio, ": the lowest ratio that can be reached is ",
        ratio(table.fixed_parameters() + (whole > 0 ? whole : smallest)), ", ",
        whole > 0 ? "the modules that target.cut leaves whole" : "one module at its smallest size",
        "; embeddings and final norm alone are ", ratio(table.fixed_parameters()),
        "; raise target.ratio"));
  }
  const double nearest = ratio(table.Parameters(*fullest));
  // Rounded up, so that the value that is named does suffice.
  const double needed = std::ceil((spec.ratio - nearest) * 1e6) / 1e6;
  return absl::InvalidArgumentError(
      absl::StrCat("target.tolerance ", spec.tolerance,
                   " is finer than the steps of the cuts: none together have a ratio in [",
                   spec.ratio - spec.tolerance, ", ", spec.ratio, "]; the nearest below has ",
                   nearest, "; raise target.tolerance to ", needed,
                   ", or lower target.align.mlp or target.align.head_dim"));
}

// With as many rounds as the budget has room for.
AllocationSpec WithinBudget(const JobSpec& spec, int64_t probes) {
  AllocationSpec allocation = spec.allocation;
  if (spec.budget_tokens == 0) return allocation;
  const auto at_most_all = [&](int64_t count) { return std::min(count, allocation.sequences); };
  const int64_t finalist = at_most_all(allocation.finalist_sequences);
  const int64_t before =
      probes * at_most_all(allocation.sensitivity_sequences) + finalist;  // the start
  const int64_t round = allocation.offspring * at_most_all(allocation.offspring_sequences) +
                        (std::min(allocation.finalists, allocation.offspring) + 1) * finalist;
  const int64_t sequences = spec.budget_tokens / allocation.sequence_length;
  allocation.generations =
      std::clamp<int64_t>((sequences - before) / round, 0, allocation.generations);
  return allocation;
}

class AllocationSearch final : public SubnetSearch {
 public:
  // `legal` is some legal allocation.
  AllocationSearch(const ModelConfig& config, ModuleTable table, const JobSpec& spec,
                   Allocation legal)
      : dense_(Subnet::Dense(config)),
        table_(std::move(table)),
        spec_(WithinBudget(spec, std::ssize(AllProbes(table_)))),
        seed_(spec.seed),
        range_(ModuleRange(table_, spec)),
        windows_(spec.allocation.sequences, spec.allocation),
        probes_(AllProbes(table_)),
        parent_sizes_(std::move(legal)) {
    DrawNext();
  }

  const Subnet& initial() const override { return initial_; }
  int64_t sensitivities() const override { return std::ssize(probes_); }
  int64_t most_candidates() const override {
    return 1 + spec_.generations * (spec_.offspring + spec_.finalists + 1);
  }
  bool Done() const override { return candidates_.empty(); }
  const std::vector<Candidate>& Drawn() const override { return candidates_; }
  const ScoredCandidate& best() const override { return parent_.front(); }
  const std::vector<ScoredCandidate>& survivors() const override { return parent_; }

  bool DrawNext() override {
    switch (phase()) {
      case Phase::kSensitivities:
        return DrawSensitivity();
      case Phase::kStart:
        return DrawStart();
      case Phase::kOffspring:
        return DrawOffspring();
      case Phase::kFinals:
        return DrawFinalist();
      case Phase::kDone:
        break;
    }
    return false;
  }

  // There are many sensitivities, and none can be the best.
  void Scored(size_t index, double /*fitness*/) override {
    if (phase() == Phase::kSensitivities) candidates_[index].subnet = {};
  }

  absl::Status Report(const std::vector<double>& fitness) override {
    Generation();
    ESPALIER_RETURN_IF_ERROR(search::CheckFitness(candidates_, fitness));
    switch (phase()) {
      case Phase::kSensitivities:
        ChooseStart(fitness);
        break;
      case Phase::kStart:
        parent_.front().fitness = fitness.front();
        break;
      case Phase::kOffspring:
        ChooseFinalists(fitness);
        break;
      case Phase::kFinals:
        ChooseParent(fitness);
        break;
      case Phase::kDone:
        break;
    }
    candidates_.clear();
    ++generation_;
    slot_ = 0;
    DrawNext();
    return absl::OkStatus();
  }

 private:
  enum class Phase { kSensitivities, kStart, kOffspring, kFinals, kDone };

  struct Finalist {
    Allocation sizes;
    Candidate candidate;  // as it was last
  };

  Phase phase() const {
    if (generation_ == 0) return Phase::kSensitivities;
    if (generation_ == 1) return Phase::kStart;
    if (round() >= spec_.generations) return Phase::kDone;
    return generation_ % 2 == 0 ? Phase::kOffspring : Phase::kFinals;
  }
  int64_t round() const { return (generation_ - 2) / 2; }

  void AddCandidate(Candidate candidate) {
    candidate.id = {.generation = generation_, .slot = std::ssize(candidates_)};
    candidates_.push_back(std::move(candidate));
  }

  bool DrawSensitivity() {
    if (slot_ == std::ssize(probes_)) return false;
    const Probe& probe = probes_[slot_++];
    Candidate candidate;
    candidate.origin = Origin::kSensitivity;
    candidate.subnet = dense_;
    table_.Apply(probe.module, probe.option, candidate.subnet);
    candidate.fingerprint = Fingerprint(candidate.subnet);
    candidate.window = windows_.Sensitivity();
    AddCandidate(std::move(candidate));
    return true;
  }

  void ChooseStart(const std::vector<double>& fitness) {
    CostedModules modules = PredictDamages(table_, probes_, fitness);
    parent_sizes_ = search::LeastDamage(modules, range_).value_or(parent_sizes_);
    seen_.insert(parent_sizes_);
    moves_.emplace(std::move(modules), range_);
    initial_ = table_.Build(parent_sizes_);
    Candidate start;
    start.id = {.generation = 1, .slot = 0};
    start.subnet = initial_;
    start.fingerprint = Fingerprint(initial_);
    start.window = windows_.Finalists(0);
    parent_.push_back({.candidate = std::move(start), .fitness = HUGE_VAL});
  }

  bool DrawStart() {
    if (slot_++ > 0) return false;
    AddCandidate(parent_.front().candidate);
    return true;
  }

  // A slot for which nothing new was found is left out.
  bool DrawOffspring() {
    while (slot_ < spec_.offspring) {
      RandomStream random(seed_, RandomPurpose::kAllocation, static_cast<uint32_t>(generation_),
                          static_cast<uint32_t>(slot_));
      const int drafts = slot_ % kBlindSlots == kBlindSlots - 1 ? 1 : kDrafts;
      ++slot_;
      std::optional<Allocation> sizes = moves_->Draw(
          parent_sizes_, drafts, [&](const Allocation& a) { return !seen_.contains(a); }, random);
      if (!sizes) continue;
      seen_.insert(*sizes);
      AddCandidate(Offspring(*sizes));
      offspring_sizes_.push_back(*std::move(sizes));
      return true;
    }
    return false;
  }

  Candidate Offspring(const Allocation& sizes) const {
    const Candidate& parent = parent_.front().candidate;
    Candidate candidate;
    candidate.origin = Origin::kOffspring;
    candidate.parents = {parent.id};
    candidate.subnet = parent.subnet;
    for (size_t m = 0; m < sizes.size(); ++m) {
      if (sizes[m] != parent_sizes_[m]) table_.Apply(m, sizes[m], candidate.subnet);
    }
    candidate.fingerprint = Fingerprint(candidate.subnet);
    candidate.window = windows_.Offspring(round());
    return candidate;
  }

  void ChooseFinalists(const std::vector<double>& fitness) {
    finalists_ = {{.sizes = parent_sizes_, .candidate = parent_.front().candidate}};
    std::vector<size_t> order;
    for (size_t i = 0; i < fitness.size(); ++i) {
      if (std::isfinite(fitness[i])) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return fitness[a] < fitness[b]; });
    if (std::ssize(order) > spec_.finalists) order.resize(spec_.finalists);
    for (const size_t i : order) {
      finalists_.push_back(
          {.sizes = std::move(offspring_sizes_[i]), .candidate = std::move(candidates_[i])});
    }
    offspring_sizes_.clear();
  }

  bool DrawFinalist() {
    if (slot_ == std::ssize(finalists_)) return false;
    Candidate candidate = finalists_[slot_++].candidate;
    candidate.origin = Origin::kFinalist;
    candidate.parents = {candidate.id};
    candidate.window = windows_.Finalists(round());
    AddCandidate(std::move(candidate));
    return true;
  }

  // The parent is the first finalist.
  void ChooseParent(const std::vector<double>& fitness) {
    const size_t best = std::min_element(fitness.begin(), fitness.end()) - fitness.begin();
    if (!std::isfinite(fitness[best])) return;
    parent_sizes_ = std::move(finalists_[best].sizes);
    parent_.front() = {.candidate = std::move(candidates_[best]), .fitness = fitness[best]};
  }

  const Subnet dense_;
  const ModuleTable table_;
  const AllocationSpec spec_;
  const uint64_t seed_;
  const ParameterRange range_;
  const SequenceWindows windows_;
  const std::vector<Probe> probes_;
  std::optional<AllocationMoves> moves_;  // from the sensitivities on
  Subnet initial_;
  std::set<Allocation> seen_;  // the start and all offspring

  Allocation parent_sizes_;
  std::vector<ScoredCandidate> parent_;  // one, once there is a start
  std::vector<Allocation> offspring_sizes_;
  std::vector<Finalist> finalists_;
  int64_t generation_ = 0;
  int64_t slot_ = 0;  // to be drawn next
  std::vector<Candidate> candidates_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SubnetSearch>> MakeAllocationSearch(const ModelConfig& config,
                                                                   const JobSpec& spec,
                                                                   const Ranking& ranking) {
  ESPALIER_RETURN_IF_ERROR(CheckCounts(spec));
  ESPALIER_ASSIGN_OR_RETURN(ModuleTable table,
                            ModuleTable::Create(config, ranking, spec.align_mlp, spec.cut));
  const ParameterRange range = ModuleRange(table, spec);
  std::optional<Allocation> fullest = search::Fullest(SizesOf(table), range.high);
  if (!fullest || search::TotalParameters(SizesOf(table), *fullest) < range.low) {
    return Unreachable(table, spec, fullest);
  }
  return std::make_unique<AllocationSearch>(config, std::move(table), spec, *std::move(fullest));
}

}  // namespace espalier
