#include "worker/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <vector>

#include "common/model_folder.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Engine> LoadOrDie(const std::filesystem::path& folder, EngineOptions options = {}) {
  if (options.threads == 0) options.threads = 2;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Load(folder, options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

// A copy of the model with every omitted weight set to zero: what mask equivalence speaks of.
std::filesystem::path WriteZeroMasked(const std::filesystem::path& source,
                                      const ModelConfig& config, const Subnet& subnet,
                                      const std::string& name) {
  const auto folder = OpenModelFolder(source);
  const std::filesystem::path target = std::filesystem::path(::testing::TempDir()) / name;
  std::filesystem::create_directories(target);
  std::filesystem::copy_file(source / "config.json", target / "config.json",
                             std::filesystem::copy_options::overwrite_existing);
  const std::vector<TensorSpec> specs =
      ExpectedTensors(config, Subnet::Dense(config), DType::kFloat32);
  std::ofstream file(target / "model.safetensors", std::ios::binary);
  file << SafetensorsHeader(specs, {});
  for (const TensorSpec& spec : specs) {
    const TensorView view = *folder->tensors->Get(spec.name);
    std::vector<float> values(view.bytes.size() / 4);
    std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
    const auto contains = [&](const char* part) {
      return spec.name.find(part) != std::string::npos;
    };
    int layer = -1;
    std::sscanf(spec.name.c_str(), "model.layers.%d.", &layer);
    const auto kept_row = [&](int64_t row) -> bool {
      const LayerMask& mask = subnet.layers[layer];
      const int64_t h = config.head_dim;
      if (contains("q_proj") || contains("o_proj")) {
        return mask.attention[row / h / config.queries_per_group()].Test(row % h % (h / 2));
      }
      if (contains("k_proj") || contains("v_proj")) {
        return mask.attention[row / h].Test(row % h % (h / 2));
      }
      return mask.mlp.Test(row);
    };
    if (contains("_proj")) {
      const int64_t columns = spec.shape[1];
      const bool by_column = contains("o_proj") || contains("down_proj");
      for (size_t i = 0; i < values.size(); ++i) {
        const auto place = static_cast<int64_t>(i);
        if (!kept_row(by_column ? place % columns : place / columns)) values[i] = 0;
      }
    }
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * 4));
  }
  return target;
}

struct Shape {
  int64_t heads;
  int64_t kv_heads;
  bool tied;
};

class MaskEquivalenceTest : public ::testing::TestWithParam<Shape> {};

TEST_P(MaskEquivalenceTest, GatheredSubnetEqualsZeroMaskedDense) {
  const auto [heads, kv_heads, tied] = GetParam();
  const ModelConfig config = TestConfig(heads, kv_heads, tied);
  const std::string name = "mask_" + std::to_string(heads) + std::to_string(kv_heads);
  const std::filesystem::path folder = WriteTestModel(config, 11, name);
  const std::unique_ptr<Engine> engine = LoadOrDie(folder);
  ASSERT_NE(engine, nullptr);
  const TokenSequences tokens = RandomTokens(config, 2, 83, 3);
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const Subnet subnet = RandomTestSubnet(config, 0.3 + 0.1 * static_cast<double>(seed),
                                           /*drop_layers=*/seed % 2 == 1, seed);
    const auto losses = engine->Evaluate(subnet, tokens);
    ASSERT_TRUE(losses.ok()) << losses.status();
    const std::unique_ptr<Engine> masked =
        LoadOrDie(WriteZeroMasked(folder, config, subnet, name + "_masked"));
    const auto expected = masked->Evaluate(Subnet::Dense(config), tokens);
    ASSERT_TRUE(expected.ok()) << expected.status();
    for (size_t s = 0; s < losses->size(); ++s) {
      EXPECT_EQ((*losses)[s].predictions, 82);
      EXPECT_NEAR((*losses)[s].nll_sum, (*expected)[s].nll_sum, 2e-5 * (*expected)[s].nll_sum)
          << "mask seed " << seed;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, MaskEquivalenceTest,
                         ::testing::Values(Shape{6, 2, true}, Shape{4, 4, false},
                                           Shape{9, 3, false}, Shape{8, 1, true}));

TEST(EngineTest, EmptySubnetIsTheEmbeddingAlone) {
  const ModelConfig config = TestConfig(4, 2, true);
  const std::unique_ptr<Engine> engine = LoadOrDie(WriteTestModel(config, 12, "empty"));
  Subnet subnet = RandomTestSubnet(config, 0.0, false, 1);
  const auto losses = engine->Evaluate(subnet, RandomTokens(config, 1, 40, 1));
  ASSERT_TRUE(losses.ok()) << losses.status();
  EXPECT_TRUE(std::isfinite((*losses)[0].nll_sum));
}

TEST(EngineTest, ResultsDoNotDependOnTheNumberOfThreads) {
  const ModelConfig config = TestConfig(6, 3, true);
  const std::filesystem::path folder = WriteTestModel(config, 13, "threads");
  const Subnet subnet = RandomTestSubnet(config, 0.6, false, 4);
  const TokenSequences tokens = RandomTokens(config, 5, 300, 9);
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    std::vector<std::vector<double>> sums;
    std::vector<UnitScores> scores;
    for (const int threads : {1, 2, 5}) {
      const auto engine = LoadOrDie(folder, {.precision = precision, .threads = threads});
      const auto losses = engine->Evaluate(subnet, tokens);
      ASSERT_TRUE(losses.ok()) << losses.status();
      sums.emplace_back();
      for (const SequenceLoss& loss : *losses) sums.back().push_back(loss.nll_sum);
      const auto calibration = engine->Calibrate(tokens);
      ASSERT_TRUE(calibration.ok()) << calibration.status();
      scores.push_back(*engine->Importance(**calibration, 0.01));
    }
    for (int i = 1; i < 3; ++i) {
      EXPECT_EQ(sums[i], sums[0]);
      for (size_t layer = 0; layer < scores[0].layers.size(); ++layer) {
        EXPECT_EQ(scores[i].layers[layer].mlp, scores[0].layers[layer].mlp);
        EXPECT_EQ(scores[i].layers[layer].attention, scores[0].layers[layer].attention);
      }
    }
  }
}

TEST(EngineTest, BFloat16IsNearFloat32) {
  const ModelConfig config = TestConfig(4, 2, false);
  const std::filesystem::path folder = WriteTestModel(config, 14, "bfloat16");
  const TokenSequences tokens = RandomTokens(config, 2, 200, 5);
  const Subnet subnet = RandomTestSubnet(config, 0.7, false, 2);
  const auto wide = LoadOrDie(folder)->Evaluate(subnet, tokens);
  const auto narrow =
      LoadOrDie(folder, {.precision = Precision::kBFloat16})->Evaluate(subnet, tokens);
  ASSERT_TRUE(wide.ok() && narrow.ok());
  for (size_t s = 0; s < wide->size(); ++s) {
    EXPECT_NEAR((*narrow)[s].nll_sum, (*wide)[s].nll_sum, 0.02 * (*wide)[s].nll_sum);
    EXPECT_NE((*narrow)[s].nll_sum, (*wide)[s].nll_sum);
  }
}

TEST(EngineTest, CompactExportComputesTheSubnet) {
  const ModelConfig config = TestConfig(6, 2, false);
  const std::filesystem::path folder = WriteTestModel(config, 15, "to_export");
  const auto engine = LoadOrDie(folder);
  const TokenSequences tokens = RandomTokens(config, 3, 120, 6);
  const Subnet subnet = RandomTestSubnet(config, 0.5, true, 8);
  const auto calibration = engine->Calibrate(tokens);
  ASSERT_TRUE(calibration.ok()) << calibration.status();
  const auto reformation = engine->Reform(**calibration, subnet, ReformationSpec());
  ASSERT_TRUE(reformation.ok()) << reformation.status();
  const auto expected = engine->Evaluate(subnet, tokens, {.reformed = reformation->weights.get()});
  ASSERT_TRUE(expected.ok()) << expected.status();

  const std::filesystem::path compact = std::filesystem::path(::testing::TempDir()) / "compact";
  std::filesystem::create_directories(compact);
  std::ifstream dense_config(folder / "config.json");
  const std::string text((std::istreambuf_iterator<char>(dense_config)), {});
  std::ofstream(compact / "config.json")
      << *CompactConfigJson(text, config, subnet, DType::kFloat32);
  std::ofstream file(compact / "model.safetensors", std::ios::binary);
  file << SafetensorsHeader(ExpectedTensors(config, subnet, DType::kFloat32), {});
  const absl::Status exported = engine->ExportCompact(
      subnet, reformation->weights.get(), DType::kFloat32, [&](std::string_view bytes) {
        file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        return absl::OkStatus();
      });
  ASSERT_TRUE(exported.ok()) << exported;
  file.close();

  const std::filesystem::path padded = std::filesystem::path(::testing::TempDir()) / "padded";
  std::filesystem::remove_all(padded);
  const absl::Status written = WritePadded(compact, padded);
  ASSERT_TRUE(written.ok()) << written;
  const auto compact_engine = LoadOrDie(compact);
  const auto padded_engine = LoadOrDie(padded);
  ASSERT_TRUE(compact_engine != nullptr && padded_engine != nullptr);
  const auto from_compact = compact_engine->Evaluate(subnet, tokens);
  const auto from_padded = padded_engine->Evaluate(Subnet::Dense(config), tokens);
  ASSERT_TRUE(from_compact.ok()) << from_compact.status();
  ASSERT_TRUE(from_padded.ok()) << from_padded.status();
  for (size_t s = 0; s < expected->size(); ++s) {
    EXPECT_EQ((*from_compact)[s].nll_sum, (*expected)[s].nll_sum);
    EXPECT_NEAR((*from_padded)[s].nll_sum, (*expected)[s].nll_sum, 2e-5 * (*expected)[s].nll_sum);
  }
  EXPECT_THAT(compact_engine->Evaluate(Subnet::Dense(config), tokens).status().message(),
              HasSubstr("one subnet only"));
  EXPECT_THAT(compact_engine->Calibrate(tokens).status().message(), HasSubstr("dense model"));
}

// Reformed weights are float32 whatever the model's precision is.
TEST(EngineTest, ReformedWeightsServeAModelInBFloat16) {
  for (const int64_t kv_heads : {2, 3}) {
    const ModelConfig config = TestConfig(6, kv_heads, true);
    const std::filesystem::path folder = WriteTestModel(config, 19, "reformed_bfloat16");
    const TokenSequences tokens = RandomTokens(config, 3, 120, 6);
    const Subnet subnet = RandomTestSubnet(config, 0.6, false, 8);
    std::vector<double> sums;
    for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
      const auto engine = LoadOrDie(folder, {.precision = precision});
      const auto calibration = engine->Calibrate(tokens);
      ASSERT_TRUE(calibration.ok()) << calibration.status();
      const auto reformation = engine->Reform(**calibration, subnet, ReformationSpec());
      ASSERT_TRUE(reformation.ok()) << reformation.status();
      const auto losses =
          engine->Evaluate(subnet, tokens, {.reformed = reformation->weights.get()});
      ASSERT_TRUE(losses.ok()) << losses.status();
      sums.push_back(0);
      for (const SequenceLoss& loss : *losses) sums.back() += loss.nll_sum;
    }
    EXPECT_NEAR(sums[1], sums[0], 0.02 * sums[0]);
    EXPECT_NE(sums[1], sums[0]);
  }
}

TEST(EngineTest, RefusesWhatItCannotCompute) {
  const ModelConfig config = TestConfig(4, 2, true);
  const std::filesystem::path folder = WriteTestModel(config, 16, "refuses");
  const auto engine = LoadOrDie(folder);
  const TokenSequences tokens = RandomTokens(config, 1, 20, 1);
  Subnet wrong = Subnet::Dense(config);
  wrong.layers.pop_back();
  EXPECT_EQ(engine->Evaluate(wrong, tokens).status().code(), absl::StatusCode::kInvalidArgument);
  const auto outside =
      engine->Evaluate(Subnet::Dense(config), MakeTokenSequences(2, {1, 601})).status();
  EXPECT_EQ(outside.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(outside.message(), HasSubstr("token 601 at position 1"));
  EXPECT_FALSE(engine->Evaluate(Subnet::Dense(config), MakeTokenSequences(1, {1})).ok());
  EXPECT_THAT(Engine::Load(folder, {.device = "tpu"}).status().message(), HasSubstr("tpu"));
  EXPECT_EQ(Engine::Load("/nonexistent", {}).status().code(), absl::StatusCode::kNotFound);
}

// Sanitizers reserve more addresses than any limit of this kind allows.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

// While it lives, the process may map only so much more memory.
class MemoryLimit {
 public:
  explicit MemoryLimit(int64_t more_bytes) {
    getrlimit(RLIMIT_AS, &before_);
    int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit = before_;
    limit.rlim_cur = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE) + more_bytes);
    setrlimit(RLIMIT_AS, &limit);
  }
  ~MemoryLimit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_;
};

TEST(EngineTest, OutOfMemoryIsAnErrorAndTheEngineLivesOn) {
  const ModelConfig config = TestConfig(4, 2, true);
  const auto engine = LoadOrDie(WriteTestModel(config, 18, "memory"));
  const Subnet subnet = RandomTestSubnet(config, 0.8, false, 3);
  const TokenSequences small = RandomTokens(config, 1, 50, 1);
  const TokenSequences large = RandomTokens(config, 1, 65536, 2);
  const auto before = engine->Evaluate(subnet, small);
  ASSERT_TRUE(before.ok()) << before.status();
  // The residual stream alone takes 19 MB. A few are left, because libtorch's kernel generator
  // crashes when it cannot map a page for its code.
  absl::Status status;
  {
    const MemoryLimit limit(8 << 20);
    status = engine->Evaluate(subnet, large).status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(status.message(), HasSubstr("evaluating a subnet: out of memory"));
  const auto after = engine->Evaluate(subnet, small);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ((*after)[0].nll_sum, (*before)[0].nll_sum);
}

#endif

TEST(EngineTest, StopsWhenCancelled) {
  const ModelConfig config = TestConfig(4, 2, true);
  const auto engine = LoadOrDie(WriteTestModel(config, 17, "cancel"));
  const TokenSequences tokens = RandomTokens(config, 1, 50, 1);
  std::atomic<bool> cancelled{false};
  Control control;
  control.cancelled = &cancelled;
  double last = 0;
  control.progress = [&](double fraction) {
    EXPECT_GE(fraction, last);
    last = fraction;
    cancelled = true;
  };
  const auto status = engine->Evaluate(Subnet::Dense(config), tokens, {}, control).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_GT(last, 0);
  EXPECT_LT(last, 1);
  cancelled = true;
  EXPECT_EQ(engine->Calibrate(tokens, control).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace espalier
