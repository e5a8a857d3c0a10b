// What the search remembers: which subnets were candidates, and the best ones.
#ifndef ESPALIER_COORDINATOR_SEARCH_POPULATION_H_
#define ESPALIER_COORDINATOR_SEARCH_POPULATION_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/search/search.h"

namespace espalier::search {

// Whether `fitness` can be what a generation's candidates scored: one number each, neither NaN nor
// minus infinity. FAILED_PRECONDITION without candidates: the search is done.
absl::Status CheckFitness(const std::vector<Candidate>& candidates,
                          const std::vector<double>& fitness);

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

// Which candidates of a generation may still survive, as their scores come in, in any order.
class Hopes {
 public:
  using Rank = std::pair<double, CandidateId>;  // as Population orders them

  // `earlier`: the survivors of the generations before.
  Hopes(int64_t survivors, const std::vector<ScoredCandidate>& earlier);

  // Returns the index of a candidate that as many as may survive are better than: this one, or one
  // that was added before. None when there is no new one of this generation.
  std::optional<size_t> Add(const Rank& rank, size_t index);

 private:
  size_t capacity_;
  std::map<Rank, std::optional<size_t>> best_;  // without an index: of an earlier generation
};

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_POPULATION_H_
