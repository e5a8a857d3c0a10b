#include "coordinator/search/sequence_windows.h"

#include <algorithm>
#include <numeric>

namespace espalier::search {
namespace {

// Where a window of `length` sequences begins.
int64_t Place(int64_t sequences, int64_t length, int64_t round) {
  const int64_t places = sequences - length + 1;
  int64_t step = length % places;
  while (std::gcd(step, places) != 1) ++step;
  return round % places * step % places;
}

}  // namespace

SequenceWindows::SequenceWindows(int64_t sequences, const AllocationSpec& spec)
    : sequences_(sequences),
      sensitivity_(std::min(sequences, spec.sensitivity_sequences)),
      offspring_(std::min(sequences, spec.offspring_sequences)),
      finalists_(std::min(sequences, spec.finalist_sequences)) {}

SequenceWindow SequenceWindows::Offspring(int64_t round) const {
  const int64_t both = offspring_ + finalists_;
  return {.first = Place(sequences_, both <= sequences_ ? both : offspring_, round),
          .count = offspring_};
}

SequenceWindow SequenceWindows::Finalists(int64_t round) const {
  const int64_t both = offspring_ + finalists_;
  const int64_t first = both <= sequences_ ? Place(sequences_, both, round) + offspring_
                                           : Place(sequences_, finalists_, round);
  return {.first = first, .count = finalists_};
}

}  // namespace espalier::search
