// Makes a Calibration while the dense model runs. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_STATISTICS_COLLECTOR_H_
#define ESPALIER_WORKER_ENGINE_STATISTICS_COLLECTOR_H_

#include <cstdint>
#include <vector>

#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"

namespace espalier {

// Everything given must outlive it. May throw libtorch's exceptions.
class StatisticsCollector {
 public:
  // Of so many sequences of `length` tokens.
  StatisticsCollector(const ResidentModel& model, Backend* backend, int64_t sequences,
                      int64_t length, Calibration* calibration);

  // For all rows that the layer sees, the first sequence's first.
  LayerObserver Observer(int64_t layer);
  // What the model's last layer gives, x [rows, d], the positions from `first` on.
  void Outputs(const at::Tensor& x, int64_t first);
  // Once, after the last row: completes the sums and takes them to the host.
  void Finish();

 private:
  const ResidentModel& model_;
  Backend* const backend_;
  const int64_t length_;
  const int64_t stride_;  // of the positions whose outputs are kept
  Calibration* const calibration_;
  std::vector<at::Tensor> outputs_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_STATISTICS_COLLECTOR_H_
