#include "coordinator/search/search_space.h"

#include <functional>
#include <string>

#include "common/testing/model_shapes.h"
#include "coordinator/search/test_models.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string CreateError(const ModelConfig& config, const JobSpec& spec) {
  const auto space = SearchSpace::Create(config, spec);
  EXPECT_EQ(space.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(space.status().message());
}

// A subnet with these numbers of units per layer, 0 for a dropped layer.
Subnet WithSizes(const ModelConfig& config, const std::vector<int64_t>& pairs,
                 const std::vector<int64_t>& channels) {
  Subnet subnet;
  for (size_t l = 0; l < pairs.size(); ++l) {
    LayerMask layer{.attention = std::vector<Bitmask>(config.num_kv_heads, Bitmask(config.pairs())),
                    .mlp = Bitmask(config.intermediate_size)};
    for (Bitmask& group : layer.attention) {
      for (int64_t i = 0; i < pairs[l]; ++i) group.Set(i);
    }
    for (int64_t i = 0; i < channels[l]; ++i) layer.mlp.Set(i);
    subnet.layers.push_back(layer);
  }
  return subnet;
}

// Whether any subnet of the two-layer model is legal, by trying all sizes.
bool AnyLegal(const ModelConfig& config, const JobSpec& spec) {
  std::vector<std::pair<int64_t, int64_t>> choices = {{0, 0}};
  for (int64_t p = 1; p <= config.pairs(); ++p) {
    for (int64_t c = 1; c <= config.intermediate_size; ++c) choices.emplace_back(p, c);
  }
  for (const auto& [p0, c0] : choices) {
    for (const auto& [p1, c1] : choices) {
      if (WhyIllegal(WithSizes(config, {p0, p1}, {c0, c1}), config, spec).empty()) return true;
    }
  }
  return false;
}

TEST(SearchSpaceTest, ExistsExactlyWhenEnumerationFindsALegalSubnet) {
  ModelConfig config = TinyModel();
  config.num_layers = 2;
  config.intermediate_size = 7;
  config.vocab_size = 3;
  RandomStream random(5, RandomPurpose::kTest, 0, 0);
  int legal = 0;
  for (int trial = 0; trial < 150; ++trial) {
    JobSpec spec = TestJob(config, 0.3 + 0.65 * random.Uniform());
    spec.tolerance = 0.05 * random.Uniform();
    spec.align_mlp = 1 + static_cast<int64_t>(random.Below(4));
    spec.align_head_dim = 1 + static_cast<int64_t>(random.Below(6));
    spec.search.attention_min_ratio = random.Uniform();
    spec.search.mlp_min_ratio = random.Uniform();
    spec.search.min_layers = 1 + static_cast<int64_t>(random.Below(2));
    const bool expected = AnyLegal(config, spec);
    EXPECT_EQ(SearchSpace::Create(config, spec).ok(), expected);
    legal += expected ? 1 : 0;
  }
  EXPECT_GT(legal, 30);
  EXPECT_LT(legal, 120);
}

TEST(SearchSpaceTest, ParametersAgreeWithTheSubnets) {
  const ModelConfig config = TinyModel();
  const auto space = SearchSpace::Create(config, TestJob(config, 0.7));
  ASSERT_TRUE(space.ok()) << space.status();
  const Subnet subnet = WithSizes(config, {2, 0, 4}, {5, 0, 12});
  const Levels levels = (*space)->LevelsOf(subnet);
  EXPECT_EQ(PresentLayers(levels), 2);
  EXPECT_FALSE(levels[1].present());
  EXPECT_EQ((*space)->attention().Size(levels[0].attention), 2);
  EXPECT_EQ((*space)->mlp().Size(levels[2].mlp), 12);
  EXPECT_EQ((*space)->Parameters(levels), CountParameters(subnet, config));
}

TEST(SearchSpaceTest, RangeIsExactInTheRatiosOfDoubles) {
  const ModelConfig config = SmolLm2();
  const double dense = static_cast<double>(DenseParameters(config));
  for (double ratio : {0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95}) {
    JobSpec spec = TestJob(config, ratio);
    const auto space = SearchSpace::Create(config, spec);
    ASSERT_TRUE(space.ok()) << space.status();
    const ParameterRange range = (*space)->range();
    EXPECT_LE(static_cast<double>(range.high) / dense, ratio);
    EXPECT_GT(static_cast<double>(range.high + 1) / dense, ratio);
    EXPECT_GE(static_cast<double>(range.low) / dense, ratio - spec.tolerance);
    EXPECT_LT(static_cast<double>(range.low - 1) / dense, ratio - spec.tolerance);
  }
}

TEST(SearchSpaceTest, ReachableDepthsAreWalkedInBothDirections) {
  ModelConfig config = SmallModel();
  JobSpec spec = TestJob(config, 0.8);
  spec.search.attention_min_ratio = 1;
  spec.search.mlp_min_ratio = 1;  // only whole layers: exactly one depth fits
  spec.tolerance = 0.1;
  const auto space = SearchSpace::Create(config, spec);
  ASSERT_TRUE(space.ok()) << space.status();
  const int64_t only = (*space)->MostLayers();
  EXPECT_EQ(only, 6);
  EXPECT_TRUE((*space)->Reachable(6));
  EXPECT_FALSE((*space)->Reachable(7));
  EXPECT_EQ((*space)->NextBelow(6), 6);
  EXPECT_EQ((*space)->NextAbove(6), 6);
  EXPECT_EQ((*space)->NextAbove(3), 6);
}

TEST(SearchSpaceTest, SaysWhenTheTargetIsSmallerThanTheSearchSpace) {
  const ModelConfig config = SmolLm2();
  JobSpec spec = TestJob(config, 0.3);
  spec.search.attention_min_ratio = 0.6;
  spec.search.min_layers = 28;
  EXPECT_THAT(CreateError(config, spec),
              AllOf(HasSubstr("target.ratio 0.3"), HasSubstr("28 layers"),
                    HasSubstr("20 of 32 pairs"), HasSubstr("search.attention_min_ratio")));
}

TEST(SearchSpaceTest, SaysWhatToRelaxWhenTheWindowIsFinerThanTheSteps) {
  const ModelConfig config = SmolLm2();
  JobSpec spec = TestJob(config, 0.7);
  spec.tolerance = 1e-6;
  spec.align_mlp = 512;
  spec.align_head_dim = 32;
  const std::string message = CreateError(config, spec);
  EXPECT_THAT(message, AllOf(HasSubstr("target.tolerance 1e-06"), HasSubstr("target.align.mlp 512"),
                             HasSubstr("target.align.head_dim 32")));
  const std::string advice = "raise target.tolerance to ";
  const size_t at = message.find(advice);
  ASSERT_NE(at, std::string::npos);
  spec.tolerance = std::stod(message.substr(at + advice.size()));
  EXPECT_TRUE(SearchSpace::Create(config, spec).ok()) << "the advice does not help: " << message;
}

TEST(SearchSpaceTest, RefusesValuesOutOfRangeByName) {
  const struct {
    std::function<void(JobSpec&)> break_it;
    const char* name;
  } kCases[] = {
      {[](JobSpec& s) { s.ratio = 1.5; }, "target.ratio"},
      {[](JobSpec& s) { s.tolerance = -1; }, "target.tolerance"},
      {[](JobSpec& s) { s.align_mlp = 0; }, "target.align.mlp"},
      {[](JobSpec& s) { s.align_head_dim = 0; }, "target.align.head_dim"},
      {[](JobSpec& s) { s.search.min_layers = 0; }, "search.min_layers"},
      {[](JobSpec& s) { s.search.min_layers = 4; }, "search.min_layers is 4"},
      {[](JobSpec& s) { s.search.mlp_min_ratio = 1.1; }, "search.mlp_min_ratio"},
      {[](JobSpec& s) { s.search.attention_min_ratio = -0.1; }, "search.attention_min_ratio"},
      {[](JobSpec& s) { s.search.mask_overlap = 2; }, "search.mask_overlap"},
  };
  for (const auto& test : kCases) {
    JobSpec spec = TestJob(TinyModel(), 0.7);
    test.break_it(spec);
    EXPECT_THAT(CreateError(TinyModel(), spec), HasSubstr(test.name));
  }
}

}  // namespace
}  // namespace espalier::search
