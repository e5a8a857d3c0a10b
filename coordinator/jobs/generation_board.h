// The fitness values of one generation as they come in, in any order.
#ifndef ESPALIER_COORDINATOR_JOBS_GENERATION_BOARD_H_
#define ESPALIER_COORDINATOR_JOBS_GENERATION_BOARD_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace espalier {

class GenerationBoard {
 public:
  GenerationBoard() = default;
  explicit GenerationBoard(size_t candidates)
      : fitness_(candidates, std::numeric_limits<double>::infinity()), missing_(candidates) {}

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

  bool Complete() const { return missing_ == 0; }
  int64_t settled() const { return static_cast<int64_t>(fitness_.size() - missing_); }
  bool AllFailed() const { return !fitness_.empty() && failed_ == fitness_.size(); }
  const std::string& last_failure() const { return reason_; }
  const std::vector<double>& fitness() const { return fitness_; }

 private:
  std::vector<double> fitness_;
  size_t missing_ = 0;
  size_t failed_ = 0;
  std::string reason_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_GENERATION_BOARD_H_
