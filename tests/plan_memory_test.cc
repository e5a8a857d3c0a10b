// What `espalier plan` says about memory, beside what the engine reports of itself.
#include <cstdint>
#include <memory>
#include <string>

#include "client/testing/small_model.h"
#include "common/plan/device_spec.h"
#include "common/plan/job_plan.h"
#include "common/plan/working_memory.h"
#include "common/subnet.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

constexpr int64_t kLength = 128;
constexpr int kThreads = 2;

// Enough for a whole batch of the engine.
TokenSequences ManySequences() {
  TokenSequences sequences;
  sequences.sequence_length = kLength;
  for (int64_t i = 0; i < 160 * kLength; ++i) {
    sequences.tokens.push_back(static_cast<int32_t>(i * i % 251));
  }
  return sequences;
}

class PlanMemoryTest : public ::testing::TestWithParam<Precision> {
 protected:
  PlanMemoryTest() {
    const auto folder = NewTestFolder("plan_memory");
    WriteSmallModel(folder);
    engine_ = *Engine::Load(folder, {.precision = GetParam(), .threads = kThreads});
    device_ = CpuDevice(kThreads, int64_t{1} << 40);
  }

  // The plan's bound holds, and it is not a wild guess either.
  void ExpectBound(bool observed) const {
    const EngineMemory memory = engine_->memory();
    const ModelConfig config = SmallConfig();
    const int64_t planned = ActivationBytes(config, GetParam(), device_, kLength, observed);
    EXPECT_LE(memory.peak_activations, planned);
    EXPECT_GE(2 * memory.peak_activations, planned);
  }

  std::unique_ptr<Engine> engine_;
  DeviceSpec device_;
};

TEST_P(PlanMemoryTest, WeightsAreWhatTheEngineHolds) {
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.model = "model";
  spec.text.path = "text";
  spec.output = "out";
  spec.ratio = 0.7;
  spec.precision = GetParam();
  const auto plan = PlanJob(SmallConfig(), *ResolveDefaults(spec, SmallConfig()),
                            {.device = device_, .devices = 1});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->stages[0].weights, engine_->memory().weights);
}

TEST_P(PlanMemoryTest, EvaluationStaysWithinThePlan) {
  ASSERT_TRUE(engine_->Evaluate(Subnet::Dense(SmallConfig()), ManySequences()).ok());
  ExpectBound(/*observed=*/false);
}

TEST_P(PlanMemoryTest, CalibrationStaysWithinThePlan) {
  ASSERT_TRUE(engine_->Calibrate(ManySequences()).ok());
  ExpectBound(/*observed=*/true);
}

INSTANTIATE_TEST_SUITE_P(Precisions, PlanMemoryTest,
                         ::testing::Values(Precision::kFloat32, Precision::kBFloat16),
                         [](const auto& info) { return std::string(PrecisionName(info.param)); });

}  // namespace
}  // namespace espalier
