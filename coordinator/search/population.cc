#include "coordinator/search/population.h"

#include <algorithm>
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

}  // namespace espalier::search
