// Losses of one subnet on one data set, collected range by range from several workers.
#ifndef ESPALIER_COORDINATOR_JOBS_LOSSES_H_
#define ESPALIER_COORDINATOR_JOBS_LOSSES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/jobs/types.h"

namespace espalier {

// INVALID_ARGUMENT unless `result` answers `work` on sequences of `sequence_length` tokens.
absl::Status CheckEvaluation(const EvaluateResult& result, const EvaluateWork& work,
                             int64_t sequence_length);

// exp of the mean over sequences of the mean NLL (docs/method.md, "Measuring"), summed in the order
// of the sequences, so that the value does not depend on who computed which. NaN becomes +infinity:
// a subnet whose loss is no number is as bad as can be.
double PerplexityOf(const std::vector<double>& nll_sums, int64_t predictions_per_sequence);

// Mean divergence per prediction, in nats; +infinity when it is not a finite number.
double DivergenceOf(const std::vector<double>& kl_sums, int64_t predictions_per_sequence);

class Losses {
 public:
  Losses() = default;
  explicit Losses(const DataSetInfo& data_set);

  // Ranges that cover all sequences: their number does not depend on the workers.
  struct Range {
    int64_t first = 0;
    int64_t count = 0;
  };
  std::vector<Range> Ranges() const;

  // Requires CheckEvaluation. Each sequence is added once.
  void Add(int64_t first, const EvaluateResult& result, double seconds);
  bool Complete() const { return missing_ == 0; }
  bool Measured() const { return Complete() && !nll_sums_.empty(); }
  double Perplexity() const;  // requires Complete
  double TokensPerSecond() const;

 private:
  std::vector<double> nll_sums_;
  int64_t sequence_length_ = 0;
  int64_t missing_ = 0;
  double seconds_ = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_LOSSES_H_
