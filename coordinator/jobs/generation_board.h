// The fitness values of one generation as they come in, in any order.
#ifndef ESPALIER_COORDINATOR_JOBS_GENERATION_BOARD_H_
#define ESPALIER_COORDINATOR_JOBS_GENERATION_BOARD_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace espalier {

class GenerationBoard {
 public:
  // One more candidate, whose index is the number of those before it.
  void Expect() {
    fitness_.push_back(std::numeric_limits<double>::infinity());
    lines_.emplace_back();
    ++missing_;
  }
  // Each index is settled once, by one of these.
  void Score(int64_t index, double fitness) {
    fitness_[index] = fitness;
    --missing_;
  }
  void Fail(const std::string& reason) {  // its fitness stays +infinity
    reason_ = reason;
    ++failed_;
    --missing_;
  }

  // Its line of the population log, made when it is settled: those of a generation of thousands
  // take seconds.
  void SetLine(int64_t index, std::string line) { lines_[index] = std::move(line); }

  bool Complete() const { return missing_ == 0; }
  int64_t settled() const { return static_cast<int64_t>(fitness_.size() - missing_); }
  bool AllFailed() const { return !fitness_.empty() && failed_ == fitness_.size(); }
  const std::string& last_failure() const { return reason_; }
  const std::vector<double>& fitness() const { return fitness_; }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  std::vector<double> fitness_;
  std::vector<std::string> lines_;
  size_t missing_ = 0;
  size_t failed_ = 0;
  std::string reason_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_GENERATION_BOARD_H_
