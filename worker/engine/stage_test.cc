// A model in stages computes what it computes in one piece, bit for bit.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/model_folder.h"
#include "worker/engine/engine.h"
#include "worker/engine/test_model.h"
#include "worker/transport/testing/local_transport.h"
#include "worker/transport/testing/nccl_replica.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

// All stages of a model, each with a thread while they compute.
class Stages {
 public:
  Stages(const std::filesystem::path& folder, const std::vector<StageRange>& ranges,
         const EngineOptions& options)
      : transports_(MakeLocalTransports(static_cast<int>(ranges.size()))) {
    for (const StageRange& range : ranges) {
      EngineOptions stage = options;
      stage.stage = range;
      engines_.push_back(*Engine::Load(folder, stage));
    }
  }

  Engine& engine(size_t stage) { return *engines_[stage]; }
  size_t size() const { return engines_.size(); }

  // `call` on every stage at once.
  template <typename Result>
  std::vector<Result> ForAll(
      const std::function<Result(Engine& engine, const Pipeline& pipeline)>& call) {
    ++task_;
    std::vector<std::optional<Result>> results(size());
    std::vector<std::thread> threads;
    for (size_t stage = 0; stage < size(); ++stage) {
      threads.emplace_back([&, stage] {
        results[stage] =
            call(engine(stage), {.transport = transports_[stage].get(), .task = task_});
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::vector<Result> all;
    for (std::optional<Result>& result : results) all.push_back(*std::move(result));
    return all;
  }

 private:
  std::vector<std::unique_ptr<Transport>> transports_;
  std::vector<std::unique_ptr<Engine>> engines_;
  uint64_t task_ = 0;
};

struct Case {
  bool tied;
  Precision precision;
  std::vector<StageRange> ranges;
};

// TestConfig has three layers.
class StageTest : public ::testing::TestWithParam<Case> {
 protected:
  StageTest()
      : config_(TestConfig(6, 3, GetParam().tied)),
        folder_(WriteTestModel(config_, 31, "staged")),
        // More than one batch of 16,384 rows.
        tokens_(RandomTokens(config_, 41, 410, 3)),
        subnet_(RandomTestSubnet(config_, 0.6, true, 5)),
        options_{.precision = GetParam().precision, .threads = 2},
        whole_(*Engine::Load(folder_, options_)),
        stages_(folder_, GetParam().ranges, options_) {}

  Subnet Own(const Engine& engine) const { return StageSubnet(subnet_, engine.stage()); }

  static std::vector<double> Sums(const std::vector<SequenceLoss>& losses) {
    std::vector<double> sums;
    for (const SequenceLoss& loss : losses) sums.push_back(loss.nll_sum);
    return sums;
  }

  const ModelConfig config_;
  const std::filesystem::path folder_;
  const TokenSequences tokens_;
  const Subnet subnet_;
  const EngineOptions options_;
  const std::unique_ptr<Engine> whole_;
  Stages stages_;
};

TEST_P(StageTest, LossesAreThoseOfTheWholeModel) {
  const auto expected = whole_->Evaluate(subnet_, tokens_);
  ASSERT_TRUE(expected.ok()) << expected.status();
  const auto parts = stages_.ForAll<absl::StatusOr<std::vector<SequenceLoss>>>(
      [&](Engine& engine, const Pipeline& pipeline) {
        return engine.Evaluate(Own(engine), tokens_, {}, {}, pipeline);
      });
  for (const auto& part : parts) ASSERT_TRUE(part.ok()) << part.status();
  for (size_t stage = 0; stage + 1 < parts.size(); ++stage) EXPECT_TRUE(parts[stage]->empty());
  EXPECT_EQ(Sums(*parts.back()), Sums(*expected));
}

// What follows from the Gram matrices: scores, reformed weights, the exported file.
TEST_P(StageTest, CalibrationReformationAndExportAreThoseOfTheWholeModel) {
  const auto grams = whole_->Calibrate(tokens_);
  ASSERT_TRUE(grams.ok()) << grams.status();
  const auto scores = whole_->Importance(**grams, 0.01);
  const auto reformed = whole_->Reform(**grams, subnet_, ReformationSpec());
  ASSERT_TRUE(scores.ok() && reformed.ok());
  std::string file;
  ASSERT_TRUE(whole_
                  ->ExportCompact(subnet_, reformed->weights.get(), DType::kFloat32,
                                  [&](std::string_view bytes) {
                                    file += bytes;
                                    return absl::OkStatus();
                                  })
                  .ok());

  const auto parts = stages_.ForAll<absl::StatusOr<std::shared_ptr<const Calibration>>>(
      [&](Engine& engine, const Pipeline& pipeline) {
        return engine.Calibrate(tokens_, {}, pipeline);
      });
  std::string joined;
  size_t errors = 0;
  for (size_t stage = 0; stage < parts.size(); ++stage) {
    ASSERT_TRUE(parts[stage].ok()) << parts[stage].status();
    Engine& engine = stages_.engine(stage);
    const auto own_scores = engine.Importance(**parts[stage], 0.01);
    ASSERT_TRUE(own_scores.ok()) << own_scores.status();
    for (int64_t i = 0; i < engine.stage().count; ++i) {
      const LayerScores& expected = scores->layers[engine.stage().first + i];
      EXPECT_EQ(own_scores->layers[i].attention, expected.attention);
      EXPECT_EQ(own_scores->layers[i].mlp, expected.mlp);
    }
    const auto own = engine.Reform(**parts[stage], Own(engine), ReformationSpec());
    ASSERT_TRUE(own.ok()) << own.status();
    for (const ReformationError& error : own->errors) {
      ASSERT_LT(errors, reformed->errors.size());
      const ReformationError& expected = reformed->errors[errors++];
      EXPECT_EQ(error.layer, expected.layer);
      EXPECT_EQ(error.mlp, expected.mlp);
      EXPECT_EQ(error.after, expected.after);
    }
    ASSERT_TRUE(engine
                    .ExportCompact(subnet_, own->weights.get(), DType::kFloat32,
                                   [&](std::string_view bytes) {
                                     joined += bytes;
                                     return absl::OkStatus();
                                   })
                    .ok());
  }
  EXPECT_EQ(errors, reformed->errors.size());
  EXPECT_TRUE(joined == file) << joined.size() << " bytes, expected " << file.size();
}

// Needs all stages at once: activations of two models go from each to the next.
TEST_P(StageTest, ProgressiveReformationAndDivergenceAreThoseOfTheWholeModel) {
  const auto grams = whole_->Calibrate(tokens_);
  ASSERT_TRUE(grams.ok()) << grams.status();
  const auto reformed = whole_->ReformProgressively(**grams, subnet_, {}, tokens_);
  ASSERT_TRUE(reformed.ok()) << reformed.status();
  const auto dense = whole_->Predict(tokens_);
  ASSERT_TRUE(dense.ok()) << dense.status();
  const auto expected = whole_->Evaluate(
      subnet_, tokens_, {.reformed = reformed->weights.get(), .dense = dense->get()});
  ASSERT_TRUE(expected.ok()) << expected.status();

  const auto parts = stages_.ForAll<absl::StatusOr<std::vector<SequenceLoss>>>(
      [&](Engine& engine, const Pipeline& pipeline) -> absl::StatusOr<std::vector<SequenceLoss>> {
        const auto own_grams = engine.Calibrate(tokens_, {}, pipeline);
        if (!own_grams.ok()) return own_grams.status();
        const auto own_dense = engine.Predict(tokens_, {}, pipeline.Call(1));
        if (!own_dense.ok()) return own_dense.status();
        const auto own =
            engine.ReformProgressively(**own_grams, Own(engine), {}, tokens_, {}, pipeline.Call(2));
        if (!own.ok()) return own.status();
        return engine.Evaluate(Own(engine), tokens_,
                               {.reformed = own->weights.get(), .dense = own_dense->get()}, {},
                               pipeline.Call(3));
      });
  for (const auto& part : parts) ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ(Sums(*parts.back()), Sums(*expected));
  ASSERT_EQ(parts.back()->size(), expected->size());
  for (size_t i = 0; i < expected->size(); ++i) {
    EXPECT_GT((*expected)[i].kl_sum, 0);
    EXPECT_EQ((*parts.back())[i].kl_sum, (*expected)[i].kl_sum);
  }
}

TEST_P(StageTest, AllStagesMustAgree) {
  for (size_t dissenter = 0; dissenter <= stages_.size(); ++dissenter) {
    const auto answers =
        stages_.ForAll<absl::StatusOr<bool>>([&](Engine& engine, const Pipeline& pipeline) {
          const bool yes = dissenter == stages_.size() || &engine != &stages_.engine(dissenter);
          return engine.AllStages(yes, {}, pipeline);
        });
    for (const auto& answer : answers) {
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(*answer, dissenter == stages_.size());
    }
  }
}

TEST_P(StageTest, StagesHoldTheirShareAndDigestTheWhole) {
  const auto folder = OpenModelFolder(folder_);
  ASSERT_TRUE(folder.ok());
  ModelDigest digest;
  int64_t bytes = 0;
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    const absl::Status merged =
        MergeDigest(DigestStage(*folder, stages_.engine(stage).stage()), &digest);
    ASSERT_TRUE(merged.ok()) << merged;
    bytes += stages_.engine(stage).memory().weights;
  }
  EXPECT_EQ(HashOf(digest), ModelHash(*folder));
  // The last stage has the tied embedding again.
  const int64_t width = options_.precision == Precision::kFloat32 ? 4 : 2;
  const int64_t again = config_.tie_word_embeddings && stages_.size() > 1
                            ? config_.vocab_size * config_.hidden_size * width
                            : 0;
  EXPECT_EQ(bytes, whole_->memory().weights + again);
}

INSTANTIATE_TEST_SUITE_P(
    Splits, StageTest,
    ::testing::Values(Case{true, Precision::kFloat32, {{0, 1}, {1, 2}}},
                      Case{false, Precision::kFloat32, {{0, 1}, {1, 1}, {2, 1}}},
                      Case{false, Precision::kBFloat16, {{0, 2}, {2, 1}}},
                      Case{true, Precision::kBFloat16, {{0, 3}}}));

// A stage neither needs nor touches the other stages' tensors: their files may be elsewhere.
TEST(StageEngineTest, ALayerOfAnotherStageMayBeUnreadable) {
  const ModelConfig config = TestConfig(4, 2, false);
  const std::filesystem::path folder = WriteTestModel(config, 32, "partial");
  const auto reader = OpenModelFolder(folder);
  ASSERT_TRUE(reader.ok());
  // Not finite where stage 0 has no business: whatever used them would show it.
  const std::string_view other = reader->tensors->Get("model.layers.2.mlp.up_proj.weight")->bytes;
  std::fstream file(folder / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), {});
  const size_t place = all.find(other);
  ASSERT_NE(place, std::string::npos);
  file.seekp(static_cast<std::streamoff>(place));
  file << std::string(other.size(), '\xff');
  file.close();

  const auto engine = Engine::Load(folder, {.threads = 1, .stage = StageRange{0, 2}});
  ASSERT_TRUE(engine.ok()) << engine.status();
  auto transports = MakeLocalTransports(2);
  const TokenSequences tokens = RandomTokens(config, 1, 20, 3);
  const auto losses = (*engine)->Evaluate(StageSubnet(Subnet::Dense(config), {0, 2}), tokens, {},
                                          {}, {.transport = transports[0].get(), .task = 1});
  ASSERT_TRUE(losses.ok()) << losses.status();
  std::vector<float> x(20 * config.hidden_size);
  ASSERT_TRUE(transports[1]
                  ->Receive(0, {1, 0}, x.data(), static_cast<int64_t>(x.size() * 4), nullptr)
                  .ok());
  for (const float value : x) ASSERT_TRUE(std::isfinite(value));
}

// The pointers are the tensors' own then. The fake GPU's memory is the CPU's.
TEST(StageEngineTest, OverNcclTheLossesAreTheSame) {
  const ModelConfig config = TestConfig(4, 2, false);
  const std::filesystem::path folder = WriteTestModel(config, 34, "nccl");
  const TokenSequences tokens = RandomTokens(config, 41, 410, 3);  // more than one batch
  const auto whole = Engine::Load(folder, {.threads = 1});
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto expected = (*whole)->Evaluate(Subnet::Dense(config), tokens);
  ASSERT_TRUE(expected.ok()) << expected.status();

  NcclReplica replica(2, CudaModule(espalier_cuda_module()));
  ASSERT_EQ(replica.stage(0).memory(), Transport::Memory::kDevice);
  const std::vector<StageRange> ranges = {{0, 2}, {2, 1}};
  std::vector<absl::StatusOr<std::vector<SequenceLoss>>> losses(2);
  std::vector<std::thread> threads;
  for (int stage = 0; stage < 2; ++stage) {
    threads.emplace_back([&, stage] {
      const auto engine = Engine::Load(folder, {.threads = 1, .stage = ranges[stage]});
      ASSERT_TRUE(engine.ok()) << engine.status();
      losses[stage] = (*engine)->Evaluate(StageSubnet(Subnet::Dense(config), ranges[stage]), tokens,
                                          {}, {}, {.transport = &replica.stage(stage), .task = 1});
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(losses[0].ok()) << losses[0].status();
  ASSERT_TRUE(losses[1].ok()) << losses[1].status();
  ASSERT_EQ(losses[1]->size(), expected->size());
  for (size_t i = 0; i < expected->size(); ++i) {
    EXPECT_EQ((*losses[1])[i].nll_sum, (*expected)[i].nll_sum);
  }
}

TEST(StageEngineTest, RefusesRangesAndCallsThatMakeNoSense) {
  const ModelConfig config = TestConfig(4, 2, false);
  const std::filesystem::path folder = WriteTestModel(config, 33, "ranges");
  for (const StageRange range : {StageRange{-1, 2}, StageRange{0, 0}, StageRange{2, 2}}) {
    const auto engine = Engine::Load(folder, {.stage = range});
    EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  }
  const auto engine = Engine::Load(folder, {.threads = 1, .stage = StageRange{0, 2}});
  ASSERT_TRUE(engine.ok()) << engine.status();
  const auto alone = (*engine)->Evaluate(StageSubnet(Subnet::Dense(config), {0, 2}),
                                         RandomTokens(config, 1, 20, 3));
  EXPECT_EQ(alone.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(alone.status().message()), HasSubstr("layers 0 to 1 are part"));
}

}  // namespace
}  // namespace espalier
