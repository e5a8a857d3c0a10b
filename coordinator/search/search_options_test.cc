// What a job may ask of either search: which modules are cut, how it begins, how long it may be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "coordinator/search/allocation_search.h"
#include "coordinator/search/search.h"
#include "coordinator/search/test_models.h"

namespace espalier {
namespace {

using search::RandomRanking;
using search::RandomScores;
using search::SmallModel;
using search::TestJob;

constexpr CutSteps kSteps{.channels = 8, .pairs = 1};

std::unique_ptr<SubnetSearch> Make(const ModelConfig& config, const JobSpec& spec) {
  auto search = spec.method == SearchMethod::kPaper
                    ? MakePaperSearch(config, spec, RandomScores(config, 1))
                    : MakeAllocationSearch(config, spec, RandomRanking(config, kSteps, 1));
  EXPECT_TRUE(search.ok()) << search.status();
  return search.ok() ? *std::move(search) : nullptr;
}

JobSpec JobOf(SearchMethod method, const ModelConfig& config) {
  JobSpec spec = TestJob(config, 0.8);
  spec.method = method;
  spec.tolerance = 0.02;
  spec.sequence_length = 16;
  spec.search.sequences = 2;
  if (method == SearchMethod::kEspalier) {
    spec.align_mlp = kSteps.channels;
    spec.align_head_dim = 2 * kSteps.pairs;
    spec.allocation = {.sequences = 4, .sequence_length = 16, .generations = 5};
  }
  return spec;
}

// Tokens that all candidates were scored on, with fitnesses that follow from nothing.
int64_t TokensOf(SubnetSearch& search, const JobSpec& spec,
                 std::vector<Subnet>* subnets = nullptr) {
  int64_t tokens = 0;
  while (!search.Done()) {
    std::vector<double> fitness;
    for (const Candidate& candidate : search.Generation()) {
      const int64_t all = spec.search_sequences();
      const int64_t count = candidate.window.count > 0 ? candidate.window.count : all;
      tokens += count * spec.search_sequence_length();
      fitness.push_back(1 + 1e-9 * static_cast<double>(tokens % 97));
      if (subnets != nullptr) subnets->push_back(candidate.subnet);
    }
    EXPECT_TRUE(search.Report(fitness).ok());
  }
  return tokens;
}

class SearchOptionsTest : public ::testing::TestWithParam<SearchMethod> {};

TEST_P(SearchOptionsTest, OnlyWhatMayBeCutIsCut) {
  const ModelConfig config = SmallModel();
  const Subnet dense = Subnet::Dense(config);
  for (const CutModules cut : {CutModules::kAttention, CutModules::kMlp}) {
    JobSpec spec = JobOf(GetParam(), config);
    spec.cut = cut;
    spec.ratio = 0.93;
    // As ResolveDefaults does.
    (cut == CutModules::kMlp ? spec.search.attention_min_ratio : spec.search.mlp_min_ratio) = 1;
    spec.search.min_layers = config.num_layers;
    auto search = Make(config, spec);
    ASSERT_NE(search, nullptr);
    std::vector<Subnet> subnets;
    TokensOf(*search, spec, &subnets);
    ASSERT_GT(subnets.size(), 20u);
    bool any = false;
    for (const Subnet& subnet : subnets) {
      for (int64_t l = 0; l < config.num_layers; ++l) {
        if (cut == CutModules::kMlp) {
          EXPECT_EQ(subnet.layers[l].attention, dense.layers[l].attention);
          any = any || subnet.layers[l].mlp != dense.layers[l].mlp;
        } else {
          EXPECT_EQ(subnet.layers[l].mlp, dense.layers[l].mlp);
          any = any || subnet.layers[l].attention != dense.layers[l].attention;
        }
      }
    }
    EXPECT_TRUE(any);
  }
}

TEST_P(SearchOptionsTest, TheBudgetIsKept) {
  const ModelConfig config = SmallModel();
  JobSpec spec = JobOf(GetParam(), config);
  // Windows are no longer than the text.
  JobSpec short_text = spec;
  short_text.search.sequences = short_text.allocation.sequences = 1;
  short_text.allocation.finalists = 20;  // more than there are offspring
  short_text.budget_tokens = TokensOf(*Make(config, short_text), short_text);
  EXPECT_EQ(TokensOf(*Make(config, short_text), short_text), short_text.budget_tokens);

  const int64_t all = TokensOf(*Make(config, spec), spec);
  spec.budget_tokens = all + 1;
  EXPECT_EQ(TokensOf(*Make(config, spec), spec), all);
  spec.budget_tokens = all - 1;
  const auto limited = Make(config, spec);
  const int64_t candidates = limited->sensitivities() + limited->most_candidates();
  std::vector<Subnet> subnets;
  const int64_t less = TokensOf(*limited, spec, &subnets);
  EXPECT_LE(std::ssize(subnets), candidates);
  EXPECT_GT(std::ssize(subnets), candidates / 2);
  EXPECT_LT(less, all);
  EXPECT_GT(less, all / 2);
}

INSTANTIATE_TEST_SUITE_P(Methods, SearchOptionsTest,
                         ::testing::Values(SearchMethod::kPaper, SearchMethod::kEspalier),
                         [](const auto& info) {
                           return std::string(SearchMethodName(info.param));
                         });

TEST(PaperSearchOptionsTest, RandomUnitsAreThoseOfTheBaseline) {
  const ModelConfig config = SmallModel();
  JobSpec spec = JobOf(SearchMethod::kPaper, config);
  const Subnet important = Make(config, spec)->initial();
  spec.search.initial = InitialUnits::kRandom;
  const auto search = Make(config, spec);
  EXPECT_NE(search->initial(), important);
  EXPECT_EQ(search->initial(), *RandomSubnet(config, spec, spec.seed));
  EXPECT_EQ(search->Generation().front().subnet, search->initial());
}

}  // namespace
}  // namespace espalier
