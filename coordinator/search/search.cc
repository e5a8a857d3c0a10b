#include "coordinator/search/search.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rng.h"
#include "common/status_macros.h"
#include "coordinator/search/crossover.h"
#include "coordinator/search/initial_architecture.h"
#include "coordinator/search/mutation.h"
#include "coordinator/search/neighbour.h"
#include "coordinator/search/population.h"
#include "coordinator/search/search_space.h"
#include "coordinator/search/unit_order.h"

namespace espalier {
namespace {

using search::LayerOrders;
using search::Population;
using search::SearchSpace;

// Draws of a candidate that repeats an earlier one, before its neighbours are enumerated.
constexpr int kDraws = 8;

absl::Status CheckCounts(const SearchSpec& spec) {
  if (spec.generations < 1 || spec.survivors < 1) {
    return absl::InvalidArgumentError(absl::StrCat("search.generations is ", spec.generations,
                                                   " and search.survivors ", spec.survivors,
                                                   "; both must be at least 1"));
  }
  if (spec.mutations < 0 || spec.crossovers < 0 || spec.initial_mutations < 0) {
    return absl::InvalidArgumentError(
        "search.mutations, search.crossovers and search.initial_mutations must not be negative");
  }
  return absl::OkStatus();
}

// With as many generations as the budget has room for, but at least the first.
SearchSpec WithinBudget(const JobSpec& spec) {
  SearchSpec search = spec.search;
  if (spec.budget_tokens == 0) return search;
  const int64_t generation = search.population() * search.sequences * spec.sequence_length;
  search.generations = std::clamp<int64_t>(spec.budget_tokens / generation, 1, search.generations);
  return search;
}

// A subnet and those that it was made from.
struct Offspring {
  Subnet subnet;
  std::vector<CandidateId> parents;
};

class PaperSearch final : public SubnetSearch {
 public:
  // Without an `initial` subnet it begins with the most important units.
  PaperSearch(std::unique_ptr<const SearchSpace> space, const JobSpec& spec,
              const UnitScores& scores, const Subnet* initial)
      : space_(std::move(space)),
        spec_(WithinBudget(spec)),
        seed_(spec.seed),
        orders_(search::SortUnits(scores)),
        initial_(initial != nullptr
                     ? *initial
                     : search::TopSubnet(*space_, orders_, search::InitialLevels(*space_, seed_))),
        population_(spec.search.survivors),
        hopes_(spec.search.survivors, {}) {
    DrawNext();
  }

  const Subnet& initial() const override { return initial_; }
  bool Done() const override { return candidates_.empty(); }
  int64_t most_candidates() const override { return spec_.generations * spec_.population(); }
  const std::vector<Candidate>& Drawn() const override { return candidates_; }
  const ScoredCandidate& best() const override { return population_.survivors().front(); }
  const std::vector<ScoredCandidate>& survivors() const override { return population_.survivors(); }

  // A slot for which nothing new exists is left out.
  bool DrawNext() override {
    if (generation_ >= spec_.generations) return false;
    const int64_t slots = std::max<int64_t>(spec_.population(), generation_ == 0 ? 1 : 0);
    while (slot_ < slots) {
      const Origin origin = SlotOrigin(slot_);
      std::optional<Candidate> candidate = BreedOne(origin, slot_++);
      if (!candidate) continue;
      candidate->id = {.generation = generation_, .slot = std::ssize(candidates_)};
      candidate->origin = origin;
      candidates_.push_back(*std::move(candidate));
      return true;
    }
    return false;
  }

  void Scored(size_t index, double fitness) override {
    if (const std::optional<size_t> loser = hopes_.Add({fitness, candidates_[index].id}, index)) {
      candidates_[*loser].subnet = {};
    }
  }

  absl::Status Report(const std::vector<double>& fitness) override {
    Generation();
    ESPALIER_RETURN_IF_ERROR(search::CheckFitness(candidates_, fitness));
    population_.Add(std::exchange(candidates_, {}), fitness);
    ++generation_;
    slot_ = 0;
    hopes_ = search::Hopes(spec_.survivors, population_.survivors());
    DrawNext();
    return absl::OkStatus();
  }

 private:
  Origin SlotOrigin(int64_t slot) const {
    if (generation_ == 0) return slot == 0 ? Origin::kInitial : Origin::kInitialMutation;
    if (slot < spec_.mutations) return Origin::kMutation;
    if (slot >= spec_.mutations + spec_.crossovers) return Origin::kInitialMutation;
    // A single survivor has nobody to cross with.
    return population_.survivors().size() > 1 ? Origin::kCrossover : Origin::kMutation;
  }

  std::optional<Candidate> BreedOne(Origin origin, int64_t slot) {
    RandomStream random(
        seed_, origin == Origin::kCrossover ? RandomPurpose::kCrossover : RandomPurpose::kMutation,
        static_cast<uint32_t>(generation_), static_cast<uint32_t>(slot));
    Offspring offspring;
    std::string fingerprint;
    const auto is_new = [&](const Subnet& subnet) {
      fingerprint = Fingerprint(subnet);
      return !population_.Seen(fingerprint);
    };
    bool found = false;
    for (int draw = 0; draw < kDraws && !found; ++draw) {
      offspring = Draw(origin, random);
      found = is_new(offspring.subnet);
    }
    if (!found) {
      std::optional<Subnet> neighbour =
          search::NewNeighbour(*space_, orders_, offspring.subnet, is_new, random);
      if (!neighbour) return std::nullopt;
      offspring.subnet = *std::move(neighbour);
    }
    population_.MarkSeen(fingerprint);
    Candidate candidate;
    candidate.parents = std::move(offspring.parents);
    candidate.subnet = std::move(offspring.subnet);
    candidate.fingerprint = std::move(fingerprint);
    return candidate;
  }

  Offspring Draw(Origin origin, RandomStream& random) const {
    switch (origin) {
      case Origin::kInitial:
        return {.subnet = initial_, .parents = {}};
      case Origin::kInitialMutation:
        return {.subnet = search::Mutate(*space_, orders_, initial_,
                                         {.probabilities = spec_.initial_mutation,
                                          .overlap = spec_.mask_overlap,
                                          .whole_space = true},
                                         random),
                .parents = {CandidateId{}}};
      case Origin::kMutation:
        return DrawMutation(random);
      case Origin::kCrossover:
        return DrawCrossover(random);
      case Origin::kSensitivity:
      case Origin::kOffspring:
      case Origin::kFinalist:
        break;  // of another search
    }
    return {};
  }

  Offspring DrawMutation(RandomStream& random) const {
    const std::vector<ScoredCandidate>& survivors = population_.survivors();
    const Candidate& parent = survivors[random.Below(survivors.size())].candidate;
    return {
        .subnet = search::Mutate(
            *space_, orders_, parent.subnet,
            {.probabilities = spec_.mutation, .overlap = spec_.mask_overlap, .whole_space = false},
            random),
        .parents = {parent.id}};
  }

  Offspring DrawCrossover(RandomStream& random) const {
    const std::vector<ScoredCandidate>& survivors = population_.survivors();
    const uint64_t i = random.Below(survivors.size());
    const uint64_t j = random.Below(survivors.size() - 1);
    const Candidate& first = survivors[i].candidate;
    const Candidate& second = survivors[j < i ? j : j + 1].candidate;
    return {.subnet = search::Crossover(*space_, orders_, first.subnet, second.subnet, random),
            .parents = {first.id, second.id}};
  }

  const std::unique_ptr<const SearchSpace> space_;
  const SearchSpec spec_;
  const uint64_t seed_;
  const std::vector<LayerOrders> orders_;
  const Subnet initial_;
  Population population_;
  search::Hopes hopes_;
  int64_t generation_ = 0;
  int64_t slot_ = 0;  // to be drawn next
  std::vector<Candidate> candidates_;
};

}  // namespace

std::string_view OriginName(Origin origin) {
  switch (origin) {
    case Origin::kInitial:
      return "initial";
    case Origin::kInitialMutation:
      return "initial_mutation";
    case Origin::kMutation:
      return "mutation";
    case Origin::kCrossover:
      return "crossover";
    case Origin::kSensitivity:
      return "sensitivity";
    case Origin::kOffspring:
      return "offspring";
    case Origin::kFinalist:
      return "finalist";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<SubnetSearch>> MakePaperSearch(const ModelConfig& config,
                                                              const JobSpec& spec,
                                                              const UnitScores& scores) {
  ESPALIER_RETURN_IF_ERROR(CheckCounts(spec.search));
  ESPALIER_RETURN_IF_ERROR(search::CheckUnitScores(scores, config));
  ESPALIER_ASSIGN_OR_RETURN(std::unique_ptr<const SearchSpace> space,
                            SearchSpace::Create(config, spec));
  if (spec.search.initial == InitialUnits::kImportance) {
    return std::make_unique<PaperSearch>(std::move(space), spec, scores, nullptr);
  }
  ESPALIER_ASSIGN_OR_RETURN(const Subnet initial, RandomSubnet(config, spec, spec.seed));
  return std::make_unique<PaperSearch>(std::move(space), spec, scores, &initial);
}

}  // namespace espalier
