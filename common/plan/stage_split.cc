#include "common/plan/stage_split.h"

#include <algorithm>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Loads of all ranges in constant time, from sums of the layers before each.
class Loads {
 public:
  explicit Loads(const StageProblem& problem) : problem_(problem), before_(1) {
    for (const StageLoad& layer : problem.layers) {
      before_.push_back({before_.back().bytes + layer.bytes, before_.back().work + layer.work});
    }
  }

  int64_t layers() const { return static_cast<int64_t>(before_.size()) - 1; }
  StageLoad Of(int64_t begin, int64_t end) const {
    StageLoad load{before_[end].bytes - before_[begin].bytes + problem_.every.bytes,
                   before_[end].work - before_[begin].work + problem_.every.work};
    const auto add = [&load](const StageLoad& more) {
      load.bytes += more.bytes;
      load.work += more.work;
    };
    if (begin == 0) add(problem_.head);
    if (end == layers()) add(problem_.tail);
    return load;
  }

 private:
  const StageProblem& problem_;
  std::vector<StageLoad> before_;  // [L + 1]
};

struct Split {
  double largest = kInfinity;  // cost of the costliest stage; infinite: there is no split
  std::vector<StageRange> ranges;
};

// The split into `stages` whose largest `cost` is least; an infinite cost forbids a stage.
Split LeastLargest(const Loads& loads, int64_t stages,
                   const std::function<double(const StageLoad&)>& cost) {
  const int64_t layers = loads.layers();
  // best[s][end]: the layers before `end` in s + 1 stages. start: where its last stage begins.
  std::vector<std::vector<double>> best(stages, std::vector<double>(layers + 1, kInfinity));
  std::vector<std::vector<int64_t>> start(stages, std::vector<int64_t>(layers + 1, 0));
  for (int64_t end = 1; end <= layers; ++end) best[0][end] = cost(loads.Of(0, end));
  for (int64_t s = 1; s < stages; ++s) {
    for (int64_t end = s + 1; end <= layers; ++end) {
      for (int64_t begin = s; begin < end; ++begin) {
        const double largest = std::max(best[s - 1][begin], cost(loads.Of(begin, end)));
        if (largest >= best[s][end]) continue;
        best[s][end] = largest;
        start[s][end] = begin;
      }
    }
  }
  Split split{.largest = best[stages - 1][layers], .ranges = {}};
  if (split.largest == kInfinity) return split;
  int64_t end = layers;
  for (int64_t s = stages - 1; s >= 0; --s) {
    const int64_t begin = start[s][end];
    split.ranges.insert(split.ranges.begin(), {begin, end - begin});
    end = begin;
  }
  return split;
}

}  // namespace

StageLoad LoadOf(const StageProblem& problem, const StageRange& range) {
  return Loads(problem).Of(range.first, range.first + range.count);
}

absl::StatusOr<std::vector<StageRange>> SplitIntoStages(const StageProblem& problem, int64_t stages,
                                                        int64_t byte_limit) {
  const Loads loads(problem);
  if (stages < 1 || stages > loads.layers()) {
    return absl::InvalidArgumentError(absl::StrCat("a model of ", loads.layers(),
                                                   " layers cannot be divided into ", stages,
                                                   " stages; use 1 to ", loads.layers()));
  }
  // Bytes are below 2^53, so doubles hold them exactly.
  const auto bytes = [](const StageLoad& load) { return static_cast<double>(load.bytes); };
  const Split fastest = LeastLargest(loads, stages, [&](const StageLoad& load) {
    return load.bytes <= byte_limit ? load.work : kInfinity;
  });
  if (fastest.ranges.empty()) {
    const double least = LeastLargest(loads, stages, bytes).largest;
    return absl::ResourceExhaustedError(
        absl::StrCat("the largest of ", stages, " stages takes at least ",
                     static_cast<int64_t>(least), " bytes, more than the ", byte_limit,
                     " of a device; use more stages or devices with more memory"));
  }
  return LeastLargest(loads, stages,
                      [&](const StageLoad& load) {
                        const bool allowed =
                            load.bytes <= byte_limit && load.work <= fastest.largest;
                        return allowed ? bytes(load) : kInfinity;
                      })
      .ranges;
}

}  // namespace espalier
