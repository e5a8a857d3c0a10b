#include "coordinator/search/population.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace espalier::search {

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
