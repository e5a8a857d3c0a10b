// Which sequences of the search data set each round of the allocation search is scored on.
#ifndef ESPALIER_COORDINATOR_SEARCH_SEQUENCE_WINDOWS_H_
#define ESPALIER_COORDINATOR_SEARCH_SEQUENCE_WINDOWS_H_

#include <cstdint>

#include "common/job_spec.h"
#include "coordinator/search/search.h"

namespace espalier::search {

// Of n = AllocationSpec::sequences sequences, o and f of which an offspring and a finalist are
// scored on (at most n):
//
// - Sensitivities take the first ones.
// - When o + f ≤ n, the offspring of a round take the o sequences from a place on, its finalists
//   the f after them: who won on the first by luck has to win again. From round to round the place
//   moves by a step that is prime to the number of places, so that all of them come before one
//   comes again, and no shorter than the two windows if it can be, so that a parent has to defend
//   itself on sequences that it was not chosen on.
// - Otherwise both move by the same rule each by itself, and overlap.
class SequenceWindows {
 public:
  // Requires positive numbers.
  SequenceWindows(int64_t sequences, const AllocationSpec& spec);

  SequenceWindow Sensitivity() const { return {.first = 0, .count = sensitivity_}; }
  SequenceWindow Offspring(int64_t round) const;
  SequenceWindow Finalists(int64_t round) const;

 private:
  int64_t sequences_;
  int64_t sensitivity_;
  int64_t offspring_;
  int64_t finalists_;
};

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_SEQUENCE_WINDOWS_H_
