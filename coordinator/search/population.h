// What the search remembers: which subnets were candidates, and the best ones.
#ifndef ESPALIER_COORDINATOR_SEARCH_POPULATION_H_
#define ESPALIER_COORDINATOR_SEARCH_POPULATION_H_

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "coordinator/search/search.h"

namespace espalier::search {

// Not thread-safe.
class Population {
 public:
  explicit Population(int64_t survivors) : capacity_(survivors) {}

  bool Seen(const std::string& fingerprint) const { return seen_.contains(fingerprint); }
  void MarkSeen(const std::string& fingerprint) { seen_.insert(fingerprint); }

  // Keeps the best of the survivors so far and these, lower fitness first, ties to the earlier
  // candidate. Requires one fitness a candidate and no NaN.
  void Add(std::vector<Candidate> candidates, const std::vector<double>& fitness);

  const std::vector<ScoredCandidate>& survivors() const { return survivors_; }

 private:
  int64_t capacity_;
  std::unordered_set<std::string> seen_;
  std::vector<ScoredCandidate> survivors_;
};

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_POPULATION_H_
