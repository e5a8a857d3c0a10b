// How fast a divided model computes: seconds from operations.
#ifndef ESPALIER_COMMON_PLAN_PACE_H_
#define ESPALIER_COMMON_PLAN_PACE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/job_spec.h"
#include "common/plan/device_spec.h"
#include "common/stage.h"

namespace espalier {

class Pace {
 public:
  Pace(const DeviceSpec& device, Precision precision, std::vector<StageRange> stages,
       int64_t replicas)
      : device_(device),
        rate_(device.RateFor(precision)),
        stages_(std::move(stages)),
        replicas_(static_cast<double>(std::max<int64_t>(1, replicas))) {
    for (const StageRange& stage : stages_) most_layers_ = std::max(most_layers_, stage.count);
  }

  bool gpu() const { return device_.gpu; }
  double replicas() const { return replicas_; }
  int64_t most_layers() const { return most_layers_; }  // of a stage

  // Matrix products on a stage's device, in the job's precision and in float32.
  double Model(double flops) const { return flops / rate_; }
  double Wide(double flops) const { return flops / device_.float32_flops; }
  // Factorisations and what goes with them, in float64; float32 is twice as fast. `matrices`
  // independent ones are computed at a time, on a CPU each by one thread.
  double Algebra(double flops, double matrices = kMany) const {
    const auto threads = static_cast<double>(device_.threads);
    return flops / device_.float64_flops * threads / std::clamp(matrices, 1.0, threads);
  }
  double AlgebraWide(double flops, double matrices = kMany) const {
    return Algebra(flops, matrices) / 2;
  }

  // Of what each stage does for its own layers, all stages at a time.
  double AllLayers(double layer_seconds) const {
    return static_cast<double>(most_layers_) * layer_seconds;
  }
  // Of the slowest stage, when the last one has the head beside its layers.
  double Slowest(double layer_seconds, double head_seconds) const {
    double slowest = 0;
    for (size_t i = 0; i < stages_.size(); ++i) {
      const double head = i + 1 == stages_.size() ? head_seconds : 0;
      slowest = std::max(slowest, static_cast<double>(stages_[i].count) * layer_seconds + head);
    }
    return slowest;
  }
  // Of candidates that all replicas share, one of which takes the slowest stage so long: nobody
  // goes on to others before the last of them has left the last stage.
  double Batch(int64_t candidates, double slowest_seconds) const {
    return (std::ceil(static_cast<double>(candidates) / replicas_) +
            static_cast<double>(stages_.size()) - 1) *
           slowest_seconds;
  }

 private:
  static constexpr double kMany = 1e9;

  DeviceSpec device_;
  double rate_;
  std::vector<StageRange> stages_;
  double replicas_;
  int64_t most_layers_ = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_PACE_H_
