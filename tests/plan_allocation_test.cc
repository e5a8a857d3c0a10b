// What a plan of `method: espalier` says, beside what the engine does: which cuts a ranking has,
// how many sensitivities the search asks for, and every byte of every tensor.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/testing/small_model.h"
#include "common/plan/allocation_counts.h"
#include "common/plan/device_spec.h"
#include "common/plan/job_memory.h"
#include "common/plan/ranking_cost.h"
#include "common/plan/working_memory.h"
#include "coordinator/search/allocation_search.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

constexpr int64_t kLength = 128;
constexpr int kThreads = 2;

// Counts the bytes of all tensors made since it was installed.
class CountingAllocator final : public c10::Allocator {
 public:
  static CountingAllocator& Installed() {
    static auto* const allocator = [] {
      auto* made = new CountingAllocator(c10::GetCPUAllocator());
      c10::SetCPUAllocator(made, /*priority=*/255);
      return made;
    }();
    return *allocator;
  }

  c10::DataPtr allocate(size_t bytes) override {
    auto block =
        std::make_unique<Block>(Block{inner_->allocate(bytes), static_cast<int64_t>(bytes), this});
    const int64_t now = live_ += block->bytes;
    int64_t peak = peak_;
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) continue;
    void* data = block->memory.get();
    return {data, block.release(), &Free, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  int64_t live() const { return live_; }
  int64_t peak() const { return peak_; }
  void ForgetPeak() { peak_ = live_.load(); }

 private:
  struct Block {
    c10::DataPtr memory;
    int64_t bytes;
    CountingAllocator* owner;
  };

  explicit CountingAllocator(c10::Allocator* inner) : inner_(inner) {}
  static void Free(void* context) {
    const std::unique_ptr<Block> block(static_cast<Block*>(context));
    block->owner->live_ -= block->bytes;
  }

  c10::Allocator* const inner_;
  std::atomic<int64_t> live_{0};
  std::atomic<int64_t> peak_{0};
};

TokenSequences SomeSequences(int64_t count, int64_t factor) {
  TokenSequences sequences;
  sequences.sequence_length = kLength;
  for (int64_t i = 0; i < count * kLength; ++i) {
    sequences.tokens.push_back(static_cast<int32_t>(i * i % 251 * factor % 256));
  }
  return sequences;
}

class PlanAllocationTest : public ::testing::TestWithParam<Precision> {
 protected:
  PlanAllocationTest() : tensors_(CountingAllocator::Installed()), before_(tensors_.live()) {
    const auto folder = NewTestFolder("plan_allocation");
    WriteSmallModel(folder);
    engine_ = *Engine::Load(folder, {.precision = GetParam(), .threads = kThreads});
    JobSpec spec;
    spec.method = SearchMethod::kEspalier;
    spec.model = "model";
    spec.text.path = "text";
    spec.output = "out";
    spec.ratio = 0.7;
    spec.precision = GetParam();
    spec.calibration_sequences = 160;  // more than a batch of the engine
    spec.allocation.sequences = 4;
    spec_ = *ResolveDefaults(spec, config_);
    calibration_text_ = SomeSequences(spec_.calibration_sequences, 1);
    search_text_ = SomeSequences(spec_.allocation.sequences, 3);
  }

  // The most bytes of tensors while `body` runs, beside those that were there.
  template <typename Body>
  int64_t PeakOf(Body&& body) {
    const int64_t start = tensors_.live();
    tensors_.ForgetPeak();
    body();
    return tensors_.peak() - start;
  }

  std::shared_ptr<const Calibration> Calibrate() {
    auto calibration = engine_->Calibrate(calibration_text_);
    EXPECT_TRUE(calibration.ok()) << calibration.status();
    return *calibration;
  }
  Ranking Rank(const Calibration& calibration) {
    auto ranking = engine_->Rank(calibration, StepsOf(spec_));
    EXPECT_TRUE(ranking.ok()) << ranking.status();
    return *std::move(ranking);
  }

  CountingAllocator& tensors_;
  const int64_t before_;
  const ModelConfig config_ = SmallConfig();
  const DeviceSpec device_ = CpuDevice(kThreads, int64_t{1} << 40);
  std::unique_ptr<Engine> engine_;
  JobSpec spec_;
  TokenSequences calibration_text_;
  TokenSequences search_text_;
};

TEST_P(PlanAllocationTest, CutsAndProbesAreThoseOfTheSearch) {
  const Ranking ranking = Rank(*Calibrate());
  for (const LayerRanking& layer : ranking.layers) {
    std::vector<int64_t> sizes;
    for (const AttentionCut& cut : layer.attention) {
      int64_t pairs = 0;
      for (const Bitmask& mask : cut.masks) pairs += mask.Count();
      sizes.push_back(pairs);
    }
    std::sort(sizes.begin(), sizes.end());
    EXPECT_EQ(sizes, AttentionCutSizes(config_, StepsOf(spec_)));
    // None of the MLP is a size too.
    EXPECT_EQ(std::ssize(layer.channel_errors),
              1 + std::ssize(MlpCutSizes(config_, StepsOf(spec_))));
  }
  auto search = MakeAllocationSearch(config_, spec_, ranking);
  ASSERT_TRUE(search.ok()) << search.status();
  EXPECT_EQ((*search)->sensitivities(), config_.num_layers * ProbesOf(config_, spec_).count());
}

// The phases of a job in their order, with all that a worker keeps.
TEST_P(PlanAllocationTest, EveryTensorIsWithinThePlan) {
  const int64_t weights = tensors_.live() - before_;
  std::shared_ptr<const Calibration> calibration;
  std::shared_ptr<const Predictions> predictions;
  std::vector<std::shared_ptr<const ReformedWeights>> kept;
  const int64_t peak = PeakOf([&] {
    calibration = Calibrate();
    predictions = *engine_->Predict(search_text_);
    ASSERT_TRUE(engine_->Importance(*calibration, 0.01).ok());
    auto search = *MakeAllocationSearch(config_, spec_, Rank(*calibration));
    // Sensitivities, the start, and the first offspring and finalists.
    for (int generation = 0; generation < 4; ++generation) {
      std::vector<double> fitness;
      for (const Candidate& candidate : search->Generation()) {
        auto repaired = engine_->Reform(*calibration, candidate.subnet, spec_.repair());
        ASSERT_TRUE(repaired.ok()) << repaired.status();
        const auto losses =
            engine_->Evaluate(candidate.subnet, search_text_,
                              {.reformed = repaired->weights.get(), .dense = predictions.get()});
        ASSERT_TRUE(losses.ok()) << losses.status();
        fitness.push_back((*losses)[0].kl_sum);
        kept.push_back(repaired->weights);
        if (kept.size() > 2) kept.erase(kept.begin());
      }
      ASSERT_TRUE(search->Report(fitness).ok());
    }
    const Subnet best = search->best().candidate.subnet;
    auto reformed =
        engine_->ReformProgressively(*calibration, best, spec_.reformation, calibration_text_);
    ASSERT_TRUE(reformed.ok()) << reformed.status();
    ASSERT_TRUE(
        engine_->Evaluate(best, calibration_text_, {.reformed = reformed->weights.get()}).ok());
    kept.push_back(reformed->weights);
  });
  const JobMemory memory = MemoryOf(config_, spec_, device_);
  const int64_t planned = config_.num_layers * memory.layer + memory.tail + memory.stage +
                          memory.working - kProcessBytes;
  EXPECT_LE(peak, planned) << "beside " << weights << " bytes of weights";
  // And it is not a wild guess either.
  EXPECT_GE(3 * peak, 2 * planned);
  // What stays when the job has ended, without buffers.
  calibration.reset();
  predictions.reset();
  kept.clear();
  engine_.reset();
  EXPECT_EQ(tensors_.live(), before_);
}

// Each phase alone, beside what is kept before it.
TEST_P(PlanAllocationTest, PhasesAreWithinTheirOwnBounds) {
  const auto calibration = Calibrate();
  const int64_t forward = ScratchBytes(config_, GetParam()) +
                          ActivationBytes(config_, GetParam(), device_, kLength, false);
  const int64_t ranking = PeakOf([&] { Rank(*calibration); });
  EXPECT_LE(ranking, std::max({EliminationWorkspace(config_, device_),
                               EffectWorkspace(config_, kLength, kThreads),
                               HeadMetricWorkspace(config_, device_)}));
  const int64_t predicting = PeakOf([&] { ASSERT_TRUE(engine_->Predict(search_text_).ok()); });
  EXPECT_LE(predicting,
            PredictionWorkspace(config_, device_) + 2 * PredictionBytes(config_, spec_));
  const Subnet dense = engine_->resident();
  const int64_t fitting = PeakOf([&] {
    ASSERT_TRUE(
        engine_->ReformProgressively(*calibration, dense, spec_.reformation, calibration_text_)
            .ok());
  });
  const int64_t planned =
      forward + StreamBytes(config_, spec_) + ProgressiveWorkspace(config_, 1, spec_, device_);
  EXPECT_LE(fitting, planned);
  EXPECT_GE(2 * fitting, planned);
}

INSTANTIATE_TEST_SUITE_P(Precisions, PlanAllocationTest,
                         ::testing::Values(Precision::kFloat32, Precision::kBFloat16),
                         [](const auto& info) { return std::string(PrecisionName(info.param)); });

}  // namespace
}  // namespace espalier
