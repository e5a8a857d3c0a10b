// Offspring of the allocation search: sizes moved from module to module.
#ifndef ESPALIER_COORDINATOR_SEARCH_ALLOCATION_MOVES_H_
#define ESPALIER_COORDINATOR_SEARCH_ALLOCATION_MOVES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "common/rng.h"
#include "coordinator/search/allocation.h"
#include "coordinator/search/module_options.h"
#include "coordinator/search/step_plan.h"

namespace espalier::search {

// A draft is the parent after one to three moves. A move either makes one module smaller, by one to
// four steps of a 24th of the largest module, and another larger by about as much; or exchanges the
// cut of an attention for another of about the same size. What room is then left goes to the
// modules that were not made smaller (TopUp). Thread-safe.
class AllocationMoves {
 public:
  // The damages are predictions. `range`: legal totals of the modules' parameters.
  AllocationMoves(CostedModules modules, const ParameterRange& range);

  const CostedModules& modules() const { return modules_; }

  // One of `drafts` drafts that are legal and new, more likely one of a small predicted damage: its
  // chance falls by e with every increase by the median of the predicted changes. At the minimum of
  // the prediction, where the search starts, blind moves mostly lead to cuts that are far too deep;
  // but the prediction is wrong by about what moves differ by, so its order is not binding. With
  // one draft it has no say. Empty when none was found in 256 tries.
  std::optional<Allocation> Draw(const Allocation& parent, int drafts,
                                 const std::function<bool(const Allocation&)>& is_new,
                                 RandomStream& random) const;

 private:
  struct Draft {
    Allocation allocation;
    std::vector<bool> kept;  // not to be made larger again
    int64_t room = 0;        // parameters
  };

  std::optional<Allocation> DrawDraft(const Allocation& parent, RandomStream& random) const;
  bool Exchange(Draft& draft, RandomStream& random) const;
  bool Transfer(Draft& draft, RandomStream& random) const;
  std::optional<int32_t> Near(size_t module, int64_t low, int64_t high, int64_t target,
                              RandomStream& random) const;
  std::vector<int32_t> AlikeCuts(size_t module, int32_t option, int64_t low, int64_t high) const;
  void Set(size_t module, int32_t option, Draft& draft) const;

  const CostedModules modules_;
  const ParameterRange range_;
  int64_t step_ = 0;  // parameters
};

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_ALLOCATION_MOVES_H_
