#include "coordinator/search/population.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace espalier::search {

absl::Status CheckFitness(const std::vector<Candidate>& candidates,
                          const std::vector<double>& fitness) {
  if (candidates.empty()) {
    return absl::FailedPreconditionError("the search is done: nothing to report");
  }
  const int64_t generation = candidates.front().id.generation;
  if (fitness.size() != candidates.size()) {
    return absl::InvalidArgumentError(absl::StrCat("generation ", generation, " has ",
                                                   candidates.size(), " candidates, got ",
                                                   fitness.size(), " fitness values"));
  }
  for (size_t i = 0; i < fitness.size(); ++i) {
    // Minus infinity would stay the best for ever; plus infinity is a candidate that failed.
    if (!std::isnan(fitness[i]) && fitness[i] > -HUGE_VAL) continue;
    return absl::InvalidArgumentError(absl::StrCat("generation ", generation, ", slot ", i,
                                                   ": fitness is ", fitness[i],
                                                   "; report a failed candidate as plus infinity"));
  }
  return absl::OkStatus();
}

void Population::Add(std::vector<Candidate> candidates, const std::vector<double>& fitness) {
  for (size_t i = 0; i < candidates.size(); ++i) {
    survivors_.push_back({.candidate = std::move(candidates[i]), .fitness = fitness[i]});
  }
  std::sort(survivors_.begin(), survivors_.end(),
            [](const ScoredCandidate& a, const ScoredCandidate& b) {
              return std::tie(a.fitness, a.candidate.id) < std::tie(b.fitness, b.candidate.id);
            });
  if (static_cast<int64_t>(survivors_.size()) > capacity_) survivors_.resize(capacity_);
}

Hopes::Hopes(int64_t survivors, const std::vector<ScoredCandidate>& earlier)
    : capacity_(static_cast<size_t>(survivors)) {
  for (const ScoredCandidate& scored : earlier) {
    best_.emplace(Rank{scored.fitness, scored.candidate.id}, std::nullopt);
  }
}

std::optional<size_t> Hopes::Add(const Rank& rank, size_t index) {
  best_.emplace(rank, index);
  if (best_.size() <= capacity_) return std::nullopt;
  const auto worst = std::prev(best_.end());
  const std::optional<size_t> loser = worst->second;
  best_.erase(worst);
  return loser;
}

}  // namespace espalier::search
