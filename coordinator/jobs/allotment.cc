#include "coordinator/jobs/allotment.h"

#include <algorithm>
#include <utility>

namespace espalier {
namespace {

using Workers = std::vector<WorkerKey>;

// Begins with what there is and makes only moves that improve it. Each raises the smallest share
// that it touches, so this ends, and where it ends nothing moves.
class Allotter {
 public:
  Allotter(const std::vector<Claim>& claims, const std::vector<Allotted>& replicas)
      : claims_(claims), held_(claims.size()) {
    for (const Allotted& replica : replicas) {
      if (MayStay(replica)) {
        held_[*replica.claim].push_back(replica.workers);
      } else {
        free_.insert(replica.workers.begin(), replica.workers.end());
      }
    }
  }

  std::vector<Allotted> Run() {
    Fill([this](size_t c) { return held_[c].size() < claims_[c].demand; }, /*may_break=*/true);
    Fill([](size_t) { return true; }, /*may_break=*/false);
    std::vector<Allotted> result;
    for (size_t c = 0; c < claims_.size(); ++c) {
      for (Workers& workers : held_[c]) result.push_back({std::move(workers), c});
    }
    return result;
  }

 private:
  bool MayStay(const Allotted& replica) const {
    if (!replica.claim.has_value()) return false;
    const Claim& claim = claims_[*replica.claim];
    return static_cast<int64_t>(replica.workers.size()) == claim.stages &&
           std::all_of(replica.workers.begin(), replica.workers.end(),
                       [&](WorkerKey worker) { return claim.eligible.count(worker) > 0; });
  }

  // Gives one replica after the other to the poorest of the claims of the highest priority that
  // want one and can get it.
  template <typename Wants>
  void Fill(const Wants& wants, bool may_break) {
    std::set<size_t> vain;
    while (true) {
      std::optional<size_t> next;
      for (size_t c = 0; c < claims_.size(); ++c) {
        if (vain.count(c) > 0 || !wants(c)) continue;
        if (next.has_value() && claims_[c].priority < claims_[*next].priority) break;
        if (!next.has_value() || Share(c, 0, *next) < Share(*next, 0, c)) next = c;
      }
      if (!next.has_value()) return;
      if (GiveOne(*next, may_break)) {
        vain.clear();
      } else {
        vain.insert(*next);
      }
    }
  }

  // What `c` holds, less so many replicas, for its weight; to be compared with that of `other`.
  int64_t Share(size_t c, int64_t less, size_t other) const {
    return (static_cast<int64_t>(held_[c].size()) - less) * claims_[c].stages * claims_[other].jobs;
  }

  bool GiveOne(size_t c, bool may_break) {
    const auto stages = static_cast<size_t>(claims_[c].stages);
    Workers workers;
    TakeFree(c, workers);
    std::vector<std::pair<size_t, Workers>> broken;
    while (workers.size() < stages) {
      const std::optional<size_t> donor = may_break ? Donor(c) : std::nullopt;
      if (!donor.has_value()) {
        // In vain: everything is as it was.
        free_.insert(workers.begin(), workers.end());
        for (auto it = broken.rbegin(); it != broken.rend(); ++it) {
          for (const WorkerKey worker : it->second) free_.erase(worker);
          held_[it->first].push_back(std::move(it->second));
        }
        return false;
      }
      broken.emplace_back(*donor, std::move(held_[*donor].back()));
      held_[*donor].pop_back();
      free_.insert(broken.back().second.begin(), broken.back().second.end());
      TakeFree(c, workers);
    }
    held_[c].push_back(std::move(workers));
    return true;
  }

  void TakeFree(size_t c, Workers& workers) {
    const auto stages = static_cast<size_t>(claims_[c].stages);
    for (auto it = free_.begin(); it != free_.end() && workers.size() < stages;) {
      if (claims_[c].eligible.count(*it) > 0) {
        workers.push_back(*it);
        it = free_.erase(it);
      } else {
        ++it;
      }
    }
  }

  // Who gives up its last replica for `c`: of those that may be asked, the one that holds most.
  std::optional<size_t> Donor(size_t c) const {
    std::optional<size_t> donor;
    for (size_t other = 0; other < claims_.size(); ++other) {
      if (other == c || held_[other].empty() || !Helps(held_[other].back(), c)) continue;
      if (!MayAsk(c, other)) continue;
      if (!donor.has_value() || Share(other, 0, *donor) > Share(*donor, 0, other)) donor = other;
    }
    return donor;
  }

  bool MayAsk(size_t c, size_t donor) const {
    if (held_[donor].size() > claims_[donor].demand) return true;
    if (claims_[donor].priority != claims_[c].priority) {
      return claims_[donor].priority < claims_[c].priority;
    }
    return Share(donor, 1, c) > Share(c, 0, donor);
  }

  bool Helps(const Workers& replica, size_t c) const {
    return std::any_of(replica.begin(), replica.end(),
                       [&](WorkerKey worker) { return claims_[c].eligible.count(worker) > 0; });
  }

  const std::vector<Claim>& claims_;
  std::vector<std::vector<Workers>> held_;  // by claim
  std::set<WorkerKey> free_;
};

}  // namespace

std::vector<Allotted> Allot(const std::vector<Claim>& claims,
                            const std::vector<Allotted>& replicas) {
  return Allotter(claims, replicas).Run();
}

}  // namespace espalier
