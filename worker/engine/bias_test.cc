// Biases of o and down: read, computed with, made by the compensation, and exported.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <string>

#include "common/model_folder.h"
#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

ModelConfig WithBiases(ModelConfig config) {
  config.attention_bias = true;
  config.mlp_bias = true;
  return config;
}

std::string Contents(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(stream)), {});
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

// A module's output with a bias is that without, plus the bias in every row.
TEST(BiasTest, BothBackendsAddIt) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = WithBiases(TestConfig(6, 2, true));
  const auto folder = OpenModelFolder(WriteTestModel(config, 51, "biases"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  const auto model = LoadResidentModel(*folder, WholeModel(config), at::kFloat, at::kCPU);
  ASSERT_TRUE(model.ok()) << model.status();
  const ResidentLayer& layer = model->layers[1];
  ASSERT_TRUE(layer.o_bias.defined() && layer.down_bias.defined());
  EXPECT_GT(layer.o_bias.norm().item<double>(), 0);
  ResidentModel bare = *model;
  for (ResidentLayer& each : bare.layers) each.o_bias = each.down_bias = at::Tensor();

  ThreadPool pool(2);
  const int64_t length = 70;
  const TokenSequences tokens = RandomTokens(config, 2, length, 5);
  for (const bool mlp : {false, true}) {
    LayerMask mask = RandomTestSubnet(config, 0.6, false, 4).layers[1];
    if (mlp) {
      mask.attention.assign(config.num_kv_heads, Bitmask(config.pairs()));
    } else {
      mask.mlp = Bitmask(config.intermediate_size);
    }
    LayerSelection selection = SelectLayer(mask, model->subnet.layers[1], config);
    for (const bool replaced : {false, true}) {
      const at::Tensor bias =
          replaced ? at::randn({config.hidden_size}) : (mlp ? layer.down_bias : layer.o_bias);
      (mlp ? selection.weights.down_bias : selection.weights.o_bias) =
          replaced ? bias : at::Tensor();
      for (const bool fused : {false, true}) {
        const std::unique_ptr<Backend> backend =
            fused ? MakeCpuBackend(&pool) : MakeTensorBackend();
        at::Tensor x = backend->Embed(*model, tokens.tokens.data(), 2 * length);
        at::Tensor y = x.clone();
        backend->RunLayer(*model, 1, selection, 2, length, &x, {});
        LayerSelection without = selection;
        without.weights = {};
        backend->RunLayer(bare, 1, without, 2, length, &y, {});
        EXPECT_LT(Distance(x, y + bias), 1e-6) << mlp << replaced << fused;
      }
    }
  }
}

TEST(BiasTest, OthersThanThoseOfOAndDownAreRefused) {
  const ModelConfig config = WithBiases(TestConfig(6, 2, true));
  const std::filesystem::path path = WriteTestModel(config, 52, "other_biases");
  EXPECT_TRUE(Engine::Load(path, {.threads = 1}).ok());
  std::string bytes = Contents(path / "model.safetensors");
  const auto folder = OpenModelFolder(path);
  const TensorView first = *folder->tensors->Get("model.embed_tokens.weight");
  const TensorView bias = *folder->tensors->Get("model.layers.2.self_attn.k_proj.bias");
  // The embedding is the file's first tensor.
  const int64_t data = static_cast<int64_t>(bytes.size());
  const float one = 1;
  const auto* begin = first.bytes.data();
  int64_t total = 0;
  for (const TensorSpec& spec : ExpectedTensors(config, Subnet::Dense(config), DType::kFloat32)) {
    total += spec.ByteSize();
  }
  std::memcpy(bytes.data() + (data - total) + (bias.bytes.data() - begin) + 8, &one, 4);
  std::ofstream(path / "model.safetensors", std::ios::binary) << bytes;
  const absl::Status status = Engine::Load(path, {.threads = 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(status.message(), HasSubstr("model.layers.2.self_attn.k_proj.bias is not zero"));
}

// Against the mean of what the omitted inputs contribute, token by token.
TEST(CompensatingBiasTest, IsTheMeanOfWhatIsLost) {
  const c10::InferenceMode no_autograd;
  at::manual_seed(7);
  const int64_t samples = 300;
  const at::Tensor inputs = at::randn({samples, 40}, at::kDouble) + at::randn({40}, at::kDouble);
  const at::Tensor weights = at::randn({40, 24}, at::kFloat);
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < 40; ++i) {
    if (i % 3 != 1) kept.push_back(i);
  }
  const at::Tensor gram = inputs.t().mm(inputs).to(at::kFloat);
  const at::Tensor dense = inputs.mm(weights.to(at::kDouble));
  const double energy = dense.square().sum().item<double>();
  const ReformedLinear result =
      CompensatingBias(weights, gram, inputs.sum(0), samples, kept, energy);

  const at::Tensor kept_index = at::tensor(kept, at::kLong);
  const at::Tensor cut =
      inputs.index_select(1, kept_index).mm(weights.to(at::kDouble).index_select(0, kept_index));
  const at::Tensor expected = (dense - cut).mean(0);
  EXPECT_LT(Distance(result.weights.to(at::kDouble), expected), 1e-6);
  EXPECT_NEAR(result.before, (dense - cut).square().sum().item<double>() / energy, 1e-5);
  EXPECT_NEAR(result.after, (dense - cut - expected).square().sum().item<double>() / energy, 1e-5);
  EXPECT_LT(result.after, result.before);
}

TEST(CompensatingBiasTest, ExportsComputeWhatTheEngineEvaluates) {
  const ModelConfig config = TestConfig(6, 2, false);
  const std::filesystem::path folder = WriteTestModel(config, 53, "compensated");
  const auto engine = Engine::Load(folder, {.threads = 2});
  ASSERT_TRUE(engine.ok()) << engine.status();
  const TokenSequences tokens = RandomTokens(config, 3, 120, 6);
  Subnet subnet = RandomTestSubnet(config, 0.7, false, 8);
  // Whole: without a compensation, but the file has a bias of it.
  subnet.layers[1].mlp = Bitmask(config.intermediate_size, true);
  const auto calibration = (*engine)->Calibrate(tokens);
  const auto reformation =
      (*engine)->Reform(**calibration, subnet, {.method = ReformationMethod::kBias});
  ASSERT_TRUE(reformation.ok()) << reformation.status();
  EXPECT_EQ(reformation->errors.size(), 5u);
  for (const ReformationError& error : reformation->errors) EXPECT_LT(error.after, error.before);
  const auto inherited = (*engine)->Evaluate(subnet, tokens);
  const auto expected =
      (*engine)->Evaluate(subnet, tokens, {.reformed = reformation->weights.get()});
  ASSERT_TRUE(inherited.ok() && expected.ok());
  EXPECT_NE((*inherited)[0].nll_sum, (*expected)[0].nll_sum);

  const ModelConfig exported = ReformedConfig(config, true);
  const std::filesystem::path compact =
      std::filesystem::path(::testing::TempDir()) / "compensated_compact";
  const std::filesystem::path padded =
      std::filesystem::path(::testing::TempDir()) / "compensated_padded";
  std::filesystem::create_directories(compact);
  std::filesystem::remove_all(padded);
  std::ofstream(compact / "config.json")
      << *CompactConfigJson(Contents(folder / "config.json"), exported, subnet, DType::kFloat32);
  {
    std::ofstream file(compact / "model.safetensors", std::ios::binary);
    file << SafetensorsHeader(ExpectedTensors(exported, subnet, DType::kFloat32), {});
    const absl::Status status = (*engine)->ExportCompact(
        subnet, reformation->weights.get(), DType::kFloat32, [&](std::string_view bytes) {
          file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
          return absl::OkStatus();
        });
    ASSERT_TRUE(status.ok()) << status;
  }
  const absl::Status written = WritePadded(compact, padded);
  ASSERT_TRUE(written.ok()) << written;
  const auto from_compact = (*Engine::Load(compact, {.threads = 2}))->Evaluate(subnet, tokens);
  const auto from_padded =
      (*Engine::Load(padded, {.threads = 2}))->Evaluate(Subnet::Dense(config), tokens);
  ASSERT_TRUE(from_compact.ok()) << from_compact.status();
  ASSERT_TRUE(from_padded.ok()) << from_padded.status();
  for (size_t s = 0; s < expected->size(); ++s) {
    EXPECT_EQ((*from_compact)[s].nll_sum, (*expected)[s].nll_sum);
    EXPECT_NEAR((*from_padded)[s].nll_sum, (*expected)[s].nll_sum, 2e-5 * (*expected)[s].nll_sum);
  }
}

}  // namespace
}  // namespace espalier
