#include "coordinator/search/allocation_search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "common/rng.h"
#include "common/testing/model_shapes.h"
#include "coordinator/search/module_options.h"
#include "coordinator/search/test_models.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using search::ModuleTable;
using search::RandomRanking;
using search::SmallModel;
using search::TestJob;
using search::TinyModel;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr CutSteps kSteps = {.channels = 8, .pairs = 2};

using Generations = std::vector<std::vector<Candidate>>;
using FitnessOf = std::function<double(const Candidate&)>;

JobSpec AllocationJob(const ModelConfig& config, double ratio, const CutSteps& steps = kSteps) {
  JobSpec spec = TestJob(config, ratio);
  spec.align_mlp = steps.channels;
  spec.allocation.generations = 4;
  return spec;
}

std::unique_ptr<SubnetSearch> MustCreate(const ModelConfig& config, const JobSpec& spec,
                                         const Ranking& ranking) {
  auto search = MakeAllocationSearch(config, spec, ranking);
  EXPECT_TRUE(search.ok()) << search.status();
  return search.ok() ? *std::move(search) : nullptr;
}

// A divergence with a known form: a power of each module's error, the modules of different worth,
// and neighbours that make up for each other's cuts or make them worse.
class Landscape {
 public:
  Landscape(const ModelConfig& config, const Ranking& ranking, double interaction, uint64_t seed)
      : interaction_(interaction), step_(kSteps.channels), f_(config.intermediate_size) {
    RandomStream random(seed, RandomPurpose::kTest, 2, 0);
    for (const LayerRanking& layer : ranking.layers) {
      mlp_errors_.push_back(layer.channel_errors);
      mlp_errors_.back().push_back(0);
      auto& errors = attention_errors_.emplace_back();
      for (const AttentionCut& cut : layer.attention) errors[Key(cut.masks)] = cut.error;
      errors[Key(std::vector<Bitmask>(config.num_kv_heads, Bitmask(config.pairs())))] = 1;
      errors[Key(std::vector<Bitmask>(config.num_kv_heads, Bitmask(config.pairs(), true)))] = 0;
    }
    for (size_t m = 0; m < 2 * ranking.layers.size(); ++m) {
      worth_.push_back(std::exp(3 * random.Uniform() - 1.5));
      power_.push_back(0.7 + random.Uniform());
      sign_.push_back(2 * random.Uniform() - 1);
    }
  }

  double Damage(const Subnet& subnet) const {
    std::vector<double> damages;
    for (size_t l = 0; l < subnet.layers.size(); ++l) {
      const LayerMask& layer = subnet.layers[l];
      const double attention = attention_errors_[l].at(Key(layer.attention));
      const int64_t kept = layer.mlp.Count();
      const double mlp = kept == f_ ? 0 : mlp_errors_[l][kept / step_];
      damages.push_back(worth_[2 * l] * std::pow(attention, power_[2 * l]));
      damages.push_back(worth_[2 * l + 1] * std::pow(mlp, power_[2 * l + 1]));
    }
    double sum = damages.back();
    for (size_t m = 0; m + 1 < damages.size(); ++m) {
      sum += damages[m] + interaction_ * sign_[m] * std::sqrt(damages[m] * damages[m + 1]);
    }
    return sum;
  }

  FitnessOf Fitness() const {
    return [this](const Candidate& candidate) { return Damage(candidate.subnet); };
  }

 private:
  static std::string Key(const std::vector<Bitmask>& masks) {
    std::string key;
    for (const Bitmask& mask : masks) key += mask.bytes();
    return key;
  }

  double interaction_;
  int64_t step_;
  int64_t f_;
  std::vector<std::map<std::string, double>> attention_errors_;
  std::vector<std::vector<double>> mlp_errors_;
  std::vector<double> worth_;
  std::vector<double> power_;
  std::vector<double> sign_;
};

std::vector<double> ScoreAll(const std::vector<Candidate>& candidates, const FitnessOf& fitness) {
  std::vector<double> scores;
  scores.reserve(candidates.size());
  for (const Candidate& candidate : candidates) scores.push_back(fitness(candidate));
  return scores;
}

Generations RunSearch(SubnetSearch& search, const FitnessOf& fitness) {
  Generations generations;
  while (!search.Done()) {
    generations.push_back(search.Generation());
    EXPECT_TRUE(search.Report(ScoreAll(generations.back(), fitness)).ok());
  }
  return generations;
}

// Any fitness that is a function of the subnet.
double Hash(const Candidate& candidate) {
  return std::stod("0x0." + candidate.fingerprint.substr(0, 12));
}

std::vector<std::string> Fingerprints(const Generations& generations) {
  std::vector<std::string> fingerprints;
  for (const auto& generation : generations) {
    for (const Candidate& candidate : generation) fingerprints.push_back(candidate.fingerprint);
  }
  return fingerprints;
}

std::string WhyIllegal(const Candidate& candidate, const ModelConfig& config, const JobSpec& spec) {
  const absl::Status shape = ValidateSubnet(candidate.subnet, config);
  if (!shape.ok()) return shape.ToString();
  if (candidate.fingerprint != Fingerprint(candidate.subnet)) return "wrong fingerprint";
  const SequenceWindow& window = candidate.window;
  if (window.first < 0 || window.count < 1 ||
      window.first + window.count > spec.allocation.sequences) {
    return "the window is out of range";
  }
  const double ratio = ParameterRatio(candidate.subnet, config);
  if (candidate.origin == Origin::kSensitivity) return ratio < 1 ? "" : "nothing is cut";
  if (ratio <= spec.ratio && ratio >= spec.ratio - spec.tolerance) return "";
  return "ratio " + std::to_string(ratio);
}

Origin OriginOf(size_t generation) {
  if (generation == 0) return Origin::kSensitivity;
  if (generation == 1) return Origin::kInitial;
  return generation % 2 == 0 ? Origin::kOffspring : Origin::kFinalist;
}

void CheckGenerations(const Generations& generations, const ModelConfig& config,
                      const JobSpec& spec) {
  std::set<std::string> probes;
  std::set<std::string> seen;
  for (size_t g = 0; g < generations.size(); ++g) {
    ASSERT_FALSE(generations[g].empty());
    for (size_t i = 0; i < generations[g].size(); ++i) {
      const Candidate& candidate = generations[g][i];
      ASSERT_EQ(candidate.id, (CandidateId{static_cast<int64_t>(g), static_cast<int64_t>(i)}));
      ASSERT_EQ(candidate.origin, OriginOf(g));
      ASSERT_EQ(WhyIllegal(candidate, config, spec), "") << g << "." << i;
      if (candidate.origin == Origin::kFinalist) continue;
      std::set<std::string>& known = g == 0 ? probes : seen;
      ASSERT_TRUE(known.insert(candidate.fingerprint).second) << g << "." << i;
    }
  }
}

TEST(AllocationSearchTest, EveryCandidateIsLegalAndNewOnRandomModels) {
  RandomStream random(11, RandomPurpose::kTest, 0, 0);
  int searched = 0;
  for (int trial = 0; trial < 200; ++trial) {
    ModelConfig config = SmallModel();
    config.num_layers = 1 + static_cast<int64_t>(random.Below(10));
    config.hidden_size = 1 + static_cast<int64_t>(random.Below(200));
    config.num_kv_heads = 1 + static_cast<int64_t>(random.Below(4));
    config.num_heads = config.num_kv_heads * (1 + static_cast<int64_t>(random.Below(4)));
    config.head_dim = 2 + 2 * static_cast<int64_t>(random.Below(20));
    config.intermediate_size = 4 + static_cast<int64_t>(random.Below(400));
    config.vocab_size = 1 + static_cast<int64_t>(random.Below(500));
    config.tie_word_embeddings = random.Bernoulli(0.5);
    const CutSteps steps{.channels = int64_t{1} << random.Below(6),
                         .pairs = 1 + static_cast<int64_t>(random.Below(4))};
    JobSpec spec = AllocationJob(config, 0.3 + 0.65 * random.Uniform(), steps);
    spec.seed = random.Next64();
    spec.tolerance = random.Bernoulli(0.5) ? 0.005 : 0.1 * random.Uniform();
    spec.allocation.sequences = 1 + static_cast<int64_t>(random.Below(6));
    auto search = MakeAllocationSearch(config, spec, RandomRanking(config, steps, trial));
    if (!search.ok()) {
      ASSERT_EQ(search.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ++searched;
    const Generations generations = RunSearch(**search, Hash);
    ASSERT_NO_FATAL_FAILURE(CheckGenerations(generations, config, spec)) << trial;
  }
  EXPECT_GT(searched, 130);
}

TEST(AllocationSearchTest, EveryCandidateIsLegalAtPublishedSizes) {
  ModelConfig many_heads = SmallModel();  // as many KV heads as heads
  many_heads.num_kv_heads = many_heads.num_heads;
  const struct {
    ModelConfig config;
    CutSteps steps;
  } kModels[] = {{many_heads, {.channels = 8, .pairs = 2}},
                 {SmolLm2(), {.channels = 64, .pairs = 4}},
                 {Llama70B(), {.channels = 1024, .pairs = 16}}};
  for (const auto& [config, steps] : kModels) {
    const Ranking ranking = RandomRanking(config, steps, 1);
    const bool large = config.num_layers == 80;
    for (const double ratio : {0.5, 0.7, 0.9}) {
      if (large && ratio != 0.7) continue;
      JobSpec spec = AllocationJob(config, ratio, steps);
      spec.tolerance = 0.005;
      spec.allocation.generations = large ? 1 : 4;
      auto search = MustCreate(config, spec, ranking);
      ASSERT_NE(search, nullptr);
      const Generations generations = RunSearch(*search, Hash);
      ASSERT_EQ(generations.size(), large ? 4u : 10u);
      for (size_t g = 2; g < generations.size(); ++g) {
        EXPECT_EQ(generations[g].size(), g % 2 == 0 ? 8u : 3u);
        for (const Candidate& candidate : generations[g]) {
          // As full as the steps let it be: that of an MLP is 0.4 % of the smallest model.
          const double step = static_cast<double>(steps.channels * ParametersPerChannel(config)) /
                              static_cast<double>(DenseParameters(config));
          EXPECT_GT(ParameterRatio(candidate.subnet, config), ratio - 1.2 * step);
        }
      }
      ASSERT_NO_FATAL_FAILURE(CheckGenerations(generations, config, spec)) << ratio;
    }
  }
}

TEST(AllocationSearchTest, MeasuresEachModuleAlone) {
  const ModelConfig config = SmallModel();
  auto search = MustCreate(config, AllocationJob(config, 0.7), RandomRanking(config, kSteps, 1));
  ASSERT_NE(search, nullptr);
  EXPECT_EQ(search->Generation().size(), 8u * 2 * 3);
  std::map<size_t, int> cuts;  // by module
  for (const Candidate& candidate : search->Generation()) {
    EXPECT_EQ(candidate.window, (SequenceWindow{.first = 0, .count = 1}));
    EXPECT_TRUE(candidate.parents.empty());
    std::vector<size_t> cut;
    const Subnet dense = Subnet::Dense(config);
    for (size_t l = 0; l < 8; ++l) {
      const LayerMask& layer = candidate.subnet.layers[l];
      if (layer.attention != dense.layers[l].attention) cut.push_back(2 * l);
      if (layer.mlp != dense.layers[l].mlp) cut.push_back(2 * l + 1);
    }
    ASSERT_EQ(cut.size(), 1u);
    ++cuts[cut[0]];
  }
  ASSERT_EQ(cuts.size(), 16u);
  for (const auto& [module, count] : cuts) EXPECT_EQ(count, 3) << module;
  search->Scored(5, 1.0);
  EXPECT_TRUE(search->Drawn()[5].subnet.layers.empty());
}

TEST(AllocationSearchTest, RoundsHaveTheirOriginsParentsAndWindows) {
  const ModelConfig config = SmallModel();
  JobSpec spec = AllocationJob(config, 0.7);
  spec.allocation.sequences = 9;
  const Ranking ranking = RandomRanking(config, kSteps, 1);
  const Landscape landscape(config, ranking, 0.5, 1);
  auto search = MustCreate(config, spec, ranking);
  ASSERT_NE(search, nullptr);
  const auto report = [&] {
    std::vector<Candidate> candidates = search->Generation();
    EXPECT_TRUE(search->Report(ScoreAll(candidates, landscape.Fitness())).ok());
    return candidates;
  };
  report();
  EXPECT_EQ(search->best().fitness, kInfinity);
  const std::vector<Candidate> start = report();
  ASSERT_EQ(start.size(), 1u);
  EXPECT_EQ(start[0].subnet, search->initial());
  EXPECT_EQ(start[0].window.count, 2);
  EXPECT_EQ(search->best().candidate.id, start[0].id);
  EXPECT_EQ(search->best().fitness, landscape.Damage(search->initial()));
  while (!search->Done()) {
    const ScoredCandidate parent = search->best();
    const std::vector<Candidate> offspring = report();
    ASSERT_EQ(offspring.size(), 8u);
    for (const Candidate& candidate : offspring) {
      EXPECT_EQ(candidate.parents, (std::vector<CandidateId>{parent.candidate.id}));
      EXPECT_EQ(candidate.window, offspring[0].window);
      EXPECT_EQ(candidate.window.count, 1);
    }
    const std::vector<Candidate> finalists = report();
    ASSERT_EQ(finalists.size(), 3u);
    EXPECT_EQ(finalists[0].subnet, parent.candidate.subnet);
    EXPECT_EQ(finalists[0].parents, (std::vector<CandidateId>{parent.candidate.id}));
    EXPECT_EQ(finalists[0].window.count, 2);
    std::vector<double> scores = ScoreAll(offspring, landscape.Fitness());
    std::sort(scores.begin(), scores.end());
    for (size_t i = 1; i < 3; ++i) {
      EXPECT_EQ(landscape.Damage(finalists[i].subnet), scores[i - 1]);
      const Candidate& before = offspring[finalists[i].parents[0].slot];
      EXPECT_EQ(finalists[i].fingerprint, before.fingerprint);
    }
    EXPECT_EQ(search->best().fitness, std::min(parent.fitness, scores[0]));
    EXPECT_EQ(search->survivors().size(), 1u);
    const auto winner = static_cast<size_t>(search->best().candidate.id.slot);
    EXPECT_EQ(search->best().candidate.fingerprint, finalists[winner].fingerprint);
  }
}

// The largest allocation in which every module keeps the same share, up to its steps.
Subnet Uniform(const ModelConfig& config, const JobSpec& spec, const Ranking& ranking) {
  const auto table = ModuleTable::Create(config, ranking, kSteps.channels);
  Subnet best;
  for (int percent = 1; percent <= 100; ++percent) {
    search::Allocation allocation;
    for (size_t m = 0; m < table->modules(); ++m) {
      int32_t chosen = 0;
      for (int32_t i = 1; i < std::ssize(table->options(m)); ++i) {
        const auto& option = table->options(m)[i];
        if (option.parameters * 100 > table->FullParameters(m) * percent) break;
        if (option.units > table->options(m)[chosen].units) chosen = i;
      }
      allocation.push_back(chosen);
    }
    Subnet subnet = table->Build(allocation);
    if (ParameterRatio(subnet, config) <= spec.ratio) best = std::move(subnet);
  }
  return best;
}

TEST(AllocationSearchTest, StartsBelowUniformSizesAndImproves) {
  const ModelConfig config = SmallModel();
  double starts = 0;
  double ends = 0;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const Ranking ranking = RandomRanking(config, kSteps, seed);
    const Landscape landscape(config, ranking, 0.8, seed);
    JobSpec spec = AllocationJob(config, 0.6);
    spec.seed = seed;
    spec.allocation.generations = 24;
    auto search = MustCreate(config, spec, ranking);
    ASSERT_NE(search, nullptr);
    RunSearch(*search, landscape.Fitness());
    const double start = landscape.Damage(search->initial());
    EXPECT_LT(start, 0.8 * landscape.Damage(Uniform(config, spec, ranking))) << seed;
    EXPECT_LE(search->best().fitness, start);
    starts += start;
    ends += search->best().fitness;
  }
  EXPECT_LT(ends, 0.95 * starts);
}

// Without interactions and with exact power laws the prediction is right, and the start the best.
TEST(AllocationSearchTest, FindsTheBestStartWhenModulesAreIndependent) {
  const ModelConfig config = SmallModel();
  const Ranking ranking = RandomRanking(config, kSteps, 3);
  const Landscape landscape(config, ranking, 0, 3);
  JobSpec spec = AllocationJob(config, 0.6);
  spec.allocation.generations = 10;
  auto search = MustCreate(config, spec, ranking);
  ASSERT_NE(search, nullptr);
  RunSearch(*search, landscape.Fitness());
  EXPECT_GE(search->best().fitness, landscape.Damage(search->initial()) * (1 - 1e-3));
}

TEST(AllocationSearchTest, TheSeedDecidesEverything) {
  const ModelConfig config = SmallModel();
  JobSpec spec = AllocationJob(config, 0.7);
  const Ranking ranking = RandomRanking(config, kSteps, 1);
  const auto run = [&](uint64_t seed) {
    spec.seed = seed;
    return Fingerprints(RunSearch(*MustCreate(config, spec, ranking), Hash));
  };
  const std::vector<std::string> first = run(5);
  EXPECT_EQ(run(5), first);
  const std::vector<std::string> other = run(6);
  // Sensitivities and start follow from the ranking; then eight offspring differ.
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 49, other.begin()));
  EXPECT_NE(other[49], first[49]);
}

TEST(AllocationSearchTest, DrawsTheSameOneByOneWhateverIsScoredMeanwhile) {
  const ModelConfig config = SmallModel();
  const JobSpec spec = AllocationJob(config, 0.7);
  const Ranking ranking = RandomRanking(config, kSteps, 1);
  auto at_once = MustCreate(config, spec, ranking);
  auto one_by_one = MustCreate(config, spec, ranking);
  ASSERT_NE(at_once, nullptr);
  ASSERT_NE(one_by_one, nullptr);
  while (!at_once->Done()) {
    const std::vector<Candidate> all = at_once->Generation();
    const std::vector<double> fitness = ScoreAll(all, Hash);
    for (size_t i = 0; i < all.size(); ++i) {
      ASSERT_EQ(one_by_one->Drawn().size(), i + 1);
      EXPECT_EQ(one_by_one->Drawn().back().fingerprint, all[i].fingerprint);
      if (i % 3 == 0) one_by_one->Scored(i, fitness[i]);
      EXPECT_EQ(one_by_one->DrawNext(), i + 1 < all.size());
    }
    ASSERT_TRUE(at_once->Report(fitness).ok());
    ASSERT_TRUE(one_by_one->Report(fitness).ok());
    EXPECT_EQ(one_by_one->best().candidate.subnet, at_once->best().candidate.subnet);
  }
  EXPECT_TRUE(one_by_one->Done());
  EXPECT_FALSE(one_by_one->DrawNext());
}

TEST(AllocationSearchTest, ReplayFromRecordedFitnessGoesOnAlike) {
  const ModelConfig config = SmallModel();
  const JobSpec spec = AllocationJob(config, 0.7);
  const Ranking ranking = RandomRanking(config, kSteps, 1);
  auto search = MustCreate(config, spec, ranking);
  std::vector<std::vector<double>> recorded;
  for (int i = 0; i < 5; ++i) {
    recorded.push_back(ScoreAll(search->Generation(), Hash));
    ASSERT_TRUE(search->Report(recorded.back()).ok());
  }
  auto replay = MustCreate(config, spec, ranking);
  for (const auto& fitness : recorded) ASSERT_TRUE(replay->Report(fitness).ok());
  EXPECT_EQ(Fingerprints(RunSearch(*replay, Hash)), Fingerprints(RunSearch(*search, Hash)));
  EXPECT_EQ(replay->best().candidate.id, search->best().candidate.id);
}

TEST(AllocationSearchTest, GoesOnWhenCandidatesFail) {
  const ModelConfig config = SmallModel();
  const JobSpec spec = AllocationJob(config, 0.7);
  const Ranking ranking = RandomRanking(config, kSteps, 1);
  RandomStream random(7, RandomPurpose::kTest, 0, 0);
  for (int trial = 0; trial < 20; ++trial) {
    const double share = trial == 0 ? 1 : random.Uniform();
    auto search = MustCreate(config, spec, ranking);
    ASSERT_NE(search, nullptr);
    const Generations generations = RunSearch(*search, [&](const Candidate& candidate) {
      return random.Bernoulli(share) ? kInfinity : Hash(candidate);
    });
    ASSERT_NO_FATAL_FAILURE(CheckGenerations(generations, config, spec)) << trial;
    EXPECT_EQ(generations.size(), 10u);
    if (trial > 0) continue;
    EXPECT_EQ(search->best().candidate.subnet, search->initial());
    EXPECT_EQ(generations[3].size(), 1u);  // the parent alone
  }
}

TEST(AllocationSearchTest, AFailedParentIsFollowedAndAFailedFinalKeepsIt) {
  const ModelConfig config = SmallModel();
  auto search = MustCreate(config, AllocationJob(config, 0.7), RandomRanking(config, kSteps, 1));
  ASSERT_NE(search, nullptr);
  const auto report = [&](const FitnessOf& fitness) {
    return search->Report(ScoreAll(search->Generation(), fitness)).ok();
  };
  ASSERT_TRUE(report(Hash));
  ASSERT_TRUE(report([](const Candidate&) { return 3.0; }));
  ASSERT_TRUE(report(Hash));
  ASSERT_TRUE(report([](const Candidate&) { return kInfinity; }));
  EXPECT_EQ(search->best().candidate.subnet, search->initial());
  EXPECT_EQ(search->best().fitness, 3.0);
  ASSERT_TRUE(report(Hash));
  ASSERT_TRUE(report([](const Candidate& c) { return c.id.slot == 2 ? 9.0 : kInfinity; }));
  EXPECT_NE(search->best().candidate.subnet, search->initial());
  EXPECT_EQ(search->best().fitness, 9.0);
  // A tie is the parent's.
  const Subnet parent = search->best().candidate.subnet;
  ASSERT_TRUE(report(Hash));
  ASSERT_TRUE(report([](const Candidate&) { return 1.0; }));
  EXPECT_EQ(search->best().candidate.subnet, parent);
}

TEST(AllocationSearchTest, EndsEarlyWhenNothingNewIsFound) {
  const ModelConfig config = TinyModel();
  const CutSteps steps{.channels = 6, .pairs = 4};
  JobSpec spec = AllocationJob(config, 0.7, steps);
  spec.tolerance = 0.1;
  spec.allocation.generations = 1000;
  auto search = MustCreate(config, spec, RandomRanking(config, steps, 1));
  ASSERT_NE(search, nullptr);
  const Generations generations = RunSearch(*search, Hash);
  ASSERT_NO_FATAL_FAILURE(CheckGenerations(generations, config, spec));
  EXPECT_LT(generations.size(), 200u);
  EXPECT_GT(generations.size(), 4u);
}

TEST(AllocationSearchTest, WithoutRoundsTheStartIsTheResult) {
  const ModelConfig config = SmallModel();
  JobSpec spec = AllocationJob(config, 0.7);
  spec.allocation.generations = 0;
  auto search = MustCreate(config, spec, RandomRanking(config, kSteps, 1));
  ASSERT_NE(search, nullptr);
  EXPECT_EQ(RunSearch(*search, Hash).size(), 2u);
  EXPECT_EQ(search->best().candidate.subnet, search->initial());
}

TEST(AllocationSearchTest, RefusesWrongReportsAndStaysAsItWas) {
  const ModelConfig config = SmallModel();
  auto search = MustCreate(config, AllocationJob(config, 0.7), RandomRanking(config, kSteps, 1));
  ASSERT_NE(search, nullptr);
  EXPECT_THAT(std::string(search->Report({1}).message()), HasSubstr("48 candidates, got 1"));
  EXPECT_EQ(search->Report(std::vector<double>(48, std::nan(""))).code(),
            absl::StatusCode::kInvalidArgument);
  RunSearch(*search, Hash);
  EXPECT_EQ(search->Report({}).code(), absl::StatusCode::kFailedPrecondition);
}

std::string Refusal(const ModelConfig& config, const JobSpec& spec, const Ranking& ranking) {
  const absl::Status status = MakeAllocationSearch(config, spec, ranking).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(AllocationSearchTest, RefusesRatiosThatCannotBeReached) {
  // 168 of 3384 parameters are outside the layers; the smallest module has 6 channels, 152.
  const ModelConfig config = TinyModel();
  const CutSteps steps{.channels = 6, .pairs = 4};
  const Ranking ranking = RandomRanking(config, steps, 1);
  JobSpec spec = AllocationJob(config, 0.09, steps);
  EXPECT_THAT(Refusal(config, spec, ranking),
              HasSubstr("the lowest ratio that can be reached is 0.0945626"));
  spec.ratio = 0.0946;
  EXPECT_TRUE(MakeAllocationSearch(config, spec, ranking).ok());
  // Nothing lies between that and two modules of 152.
  spec.ratio = 0.12;
  const std::string message = Refusal(config, spec, ranking);
  EXPECT_THAT(message, HasSubstr("the nearest below has 0.0945626"));
  EXPECT_THAT(message, HasSubstr("raise target.tolerance to 0.025438"));
  spec.tolerance = 0.025438;
  EXPECT_TRUE(MakeAllocationSearch(config, spec, ranking).ok());
  spec.ratio = 0.02;
  EXPECT_THAT(Refusal(config, spec, ranking), HasSubstr("raise target.ratio"));
  // Of what is not cut there is but one size: 12 channels, 296, in each of three layers.
  spec.ratio = 0.2;
  spec.cut = CutModules::kAttention;
  EXPECT_THAT(Refusal(config, spec, ranking),
              HasSubstr("reached is 0.312057, the modules that target.cut leaves whole"));
}

TEST(AllocationSearchTest, RefusesWrongCountsAndRankings) {
  const ModelConfig config = SmallModel();
  const Ranking ranking = RandomRanking(config, kSteps, 1);
  JobSpec spec = AllocationJob(config, 0.7);
  spec.allocation.offspring = 0;
  EXPECT_THAT(Refusal(config, spec, ranking), HasSubstr("allocation.offspring is 0"));
  spec = AllocationJob(config, 0.7);
  spec.allocation.sequences = 0;
  EXPECT_THAT(Refusal(config, spec, ranking), HasSubstr("allocation.sequences is 0"));
  spec = AllocationJob(config, 0.7);
  spec.align_mlp = 16;
  EXPECT_THAT(Refusal(config, spec, ranking), HasSubstr("192 channels in steps of 16"));
}

}  // namespace
}  // namespace espalier
