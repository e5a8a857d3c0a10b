// A search over subnets: candidates out, fitness in. Two methods are behind this interface, the
// paper's evolution of masks (section 3.3; docs/method.md, "Search") and the allocation of sizes
// over modules (allocation_search.h).
//
// Pure: no clock, files, network or libtorch. Everything follows from (options, what is known of
// the units, seed) and the fitness values reported, so a search can be replayed from its log.
#ifndef ESPALIER_COORDINATOR_SEARCH_SEARCH_H_
#define ESPALIER_COORDINATOR_SEARCH_SEARCH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/importance.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/subnet.h"

namespace espalier {

enum class Origin {
  kInitial,
  kInitialMutation,
  kMutation,
  kCrossover,
  // Of the allocation search only:
  kSensitivity,  // one module cut, all others whole
  kOffspring,    // the parent with sizes moved between modules
  kFinalist,     // the parent or one of its offspring, measured against each other
};
// As in the population log: "initial", "initial_mutation", "sensitivity", ...
std::string_view OriginName(Origin origin);

// A candidate is named by (generation, slot).
struct CandidateId {
  int64_t generation = 0;
  int64_t slot = 0;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the defaulted operator for a null.
  friend auto operator<=>(const CandidateId&, const CandidateId&) = default;
};

// Consecutive sequences of the search data set.
struct SequenceWindow {
  int64_t first = 0;
  int64_t count = 0;  // 0: all of them, JobSpec::search_sequences(); then `first` is 0

  friend bool operator==(const SequenceWindow&, const SequenceWindow&) = default;
};

struct Candidate {
  CandidateId id;
  Origin origin = Origin::kInitial;
  std::vector<CandidateId> parents;
  Subnet subnet;
  std::string fingerprint;
  SequenceWindow window = {};  // what it is to be scored on
};

struct ScoredCandidate {
  Candidate candidate;
  // Lower is better; +infinity for a candidate that failed. The paper's search minimises a
  // perplexity, the allocation search the divergence from the dense model.
  double fitness = 0;
};

class SubnetSearch {
 public:
  virtual ~SubnetSearch() = default;

  // What the search starts from. Of the paper's search generation 0's slot 0; the allocation search
  // requires that generation 0 was reported.
  virtual const Subnet& initial() const = 0;
  virtual bool Done() const = 0;
  // How many candidates of Origin::kSensitivity come before what the search starts from.
  virtual int64_t sensitivities() const { return 0; }
  // How many there are from that on, if no slot is left out for want of something new.
  virtual int64_t most_candidates() const = 0;
  // The candidates to score next. All have the model's shape; all but those of Origin::kSensitivity
  // have a legal ratio; none but those of Origin::kFinalist was returned before. Each is drawn when
  // it is asked for: one of a large model takes milliseconds, a generation of thousands many
  // seconds. What is drawn does not depend on when.
  //
  // Draws the generation's next candidate; false when it has no more.
  virtual bool DrawNext() = 0;
  // Those that were drawn; at least one unless Done. Grows with DrawNext, anew after Report.
  virtual const std::vector<Candidate>& Drawn() const = 0;
  // All of them.
  const std::vector<Candidate>& Generation() {
    while (DrawNext()) {
    }
    return Drawn();
  }
  // Optional, once a candidate: what Report will say of it. The masks of one that cannot survive
  // are forgotten: a generation of thousands would take gigabytes.
  virtual void Scored(size_t /*index*/, double /*fitness*/) {}
  // `fitness[i]` belongs to Generation()[i]. Moves on to the next generation. Draws what was not
  // drawn yet.
  virtual absl::Status Report(const std::vector<double>& fitness) = 0;
  // The best so far, ties to the earlier candidate. Requires one Report. Sensitivities and
  // offspring do not count: they are measured on other sequences than what they would compete with.
  virtual const ScoredCandidate& best() const = 0;
  // At most `survivors`, best first; of the allocation search the best alone.
  virtual const std::vector<ScoredCandidate>& survivors() const = 0;
};

// The paper's search: starts from the highest-scoring units at equal ratio in every layer, and
// scores every candidate on all sequences. `spec` has its defaults resolved (ResolveDefaults).
// INVALID_ARGUMENT when no legal subnet exists within the search space, saying what to relax.
absl::StatusOr<std::unique_ptr<SubnetSearch>> MakePaperSearch(const ModelConfig& config,
                                                              const JobSpec& spec,
                                                              const UnitScores& scores);

// A legal subnet with uniformly drawn units, at equal ratio in every layer: the baseline that a
// method has to beat.
absl::StatusOr<Subnet> RandomSubnet(const ModelConfig& config, const JobSpec& spec, uint64_t seed);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SEARCH_SEARCH_H_
