#include "coordinator/search/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "common/testing/model_shapes.h"
#include "coordinator/search/test_models.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using search::RandomScores;
using search::SmallModel;
using search::TestJob;
using search::TinyModel;
using search::WhyIllegal;
using ::testing::HasSubstr;

using Generations = std::vector<std::vector<Candidate>>;

std::unique_ptr<SubnetSearch> MustCreate(const ModelConfig& config, const JobSpec& spec,
                                         const UnitScores& scores) {
  auto search = MakePaperSearch(config, spec, scores);
  EXPECT_TRUE(search.ok()) << search.status();
  return search.ok() ? *std::move(search) : nullptr;
}

// A fitness with a known optimum: what the omitted units were worth. Lower is better.
class FakeModel {
 public:
  // The worth of a unit is its score blurred: `noise` 0 makes the scores perfect.
  FakeModel(const UnitScores& scores, double noise) : worth_(scores) {
    RandomStream random(99, RandomPurpose::kTest, 1, 0);
    for (LayerScores& layer : worth_.layers) {
      for (auto& group : layer.attention) Blur(group, 8, noise, random);
      Blur(layer.mlp, 1, noise, random);
    }
  }

  double Fitness(const Subnet& subnet) const {
    double lost = 0;
    for (size_t l = 0; l < subnet.layers.size(); ++l) {
      const LayerMask& layer = subnet.layers[l];
      for (size_t g = 0; g < layer.attention.size(); ++g) {
        lost += Lost(layer.attention[g], worth_.layers[l].attention[g]);
      }
      lost += Lost(layer.mlp, worth_.layers[l].mlp);
    }
    return lost;
  }

  std::vector<double> Fitness(const std::vector<Candidate>& candidates) const {
    std::vector<double> fitness;
    for (const Candidate& candidate : candidates) fitness.push_back(Fitness(candidate.subnet));
    return fitness;
  }

 private:
  static void Blur(std::vector<double>& values, double scale, double noise, RandomStream& random) {
    for (double& v : values) v = scale * ((1 - noise) * v + noise * random.Uniform());
  }
  static double Lost(const Bitmask& mask, const std::vector<double>& worth) {
    double lost = 0;
    for (int64_t i : mask.ClearIndices()) lost += worth[i];
    return lost;
  }

  UnitScores worth_;
};

Generations RunSearch(SubnetSearch& search, const FakeModel& model) {
  Generations generations;
  while (!search.Done()) {
    generations.push_back(search.Generation());
    EXPECT_TRUE(search.Report(model.Fitness(search.Generation())).ok());
  }
  return generations;
}

std::vector<std::string> Fingerprints(const Generations& generations) {
  std::vector<std::string> fingerprints;
  for (const auto& generation : generations) {
    for (const Candidate& candidate : generation) fingerprints.push_back(candidate.fingerprint);
  }
  return fingerprints;
}

// Every candidate is legal, named in order, fingerprinted, and was never there before.
void CheckGenerations(const Generations& generations, const ModelConfig& config,
                      const JobSpec& spec) {
  std::set<std::string> seen;
  for (size_t g = 0; g < generations.size(); ++g) {
    for (size_t i = 0; i < generations[g].size(); ++i) {
      const Candidate& candidate = generations[g][i];
      ASSERT_EQ(WhyIllegal(candidate.subnet, config, spec), "") << g << "." << i;
      ASSERT_EQ(candidate.id, (CandidateId{static_cast<int64_t>(g), static_cast<int64_t>(i)}));
      ASSERT_EQ(candidate.fingerprint, Fingerprint(candidate.subnet));
      ASSERT_TRUE(seen.insert(candidate.fingerprint).second) << g << "." << i;
    }
  }
}

TEST(PaperSearchTest, EveryCandidateIsLegalAndNewOnRandomModels) {
  RandomStream random(11, RandomPurpose::kTest, 0, 0);
  int searched = 0;
  for (int trial = 0; trial < 150; ++trial) {
    ModelConfig config = SmallModel();
    config.num_layers = 1 + static_cast<int64_t>(random.Below(12));
    config.hidden_size = 8 + 8 * static_cast<int64_t>(random.Below(30));
    config.num_kv_heads = 1 + static_cast<int64_t>(random.Below(4));
    config.num_heads = config.num_kv_heads * (1 + static_cast<int64_t>(random.Below(4)));
    config.head_dim = 2 + 2 * static_cast<int64_t>(random.Below(20));
    config.intermediate_size = 4 + static_cast<int64_t>(random.Below(400));
    config.vocab_size = 1 + static_cast<int64_t>(random.Below(500));
    config.tie_word_embeddings = random.Bernoulli(0.5);
    JobSpec spec = TestJob(config, 0.5 + 0.45 * random.Uniform());
    spec.seed = random.Next64();
    spec.tolerance = random.Bernoulli(0.5) ? 0.005 : 0.1 * random.Uniform();
    spec.align_mlp = int64_t{1} << random.Below(7);
    spec.align_head_dim = int64_t{1} << random.Below(4);
    spec.search.attention_min_ratio = 0.8 * random.Uniform();
    spec.search.mlp_min_ratio = 0.5 * random.Uniform();
    spec.search.min_layers = 1 + static_cast<int64_t>(random.Below(config.num_layers));
    spec.search.mutation = {.mask = random.Uniform(), .ratio = random.Uniform(), .depth = 0.5};
    const UnitScores scores = RandomScores(config, trial);
    auto search = MakePaperSearch(config, spec, scores);
    if (!search.ok()) {
      ASSERT_EQ(search.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ++searched;
    const Generations generations = RunSearch(**search, FakeModel(scores, 0.5));
    ASSERT_NO_FATAL_FAILURE(CheckGenerations(generations, config, spec)) << trial;
  }
  EXPECT_GT(searched, 100);
}

TEST(PaperSearchTest, EveryCandidateIsLegalAtPublishedSizes) {
  ModelConfig embedded = SmallModel();
  embedded.hidden_size = 160;
  embedded.num_heads = 5;
  embedded.num_kv_heads = 1;
  embedded.head_dim = 32;
  embedded.intermediate_size = 480;
  embedded.vocab_size = 1500;
  const struct {
    ModelConfig config;
    int64_t align_mlp;
    int64_t align_head_dim;
  } kModels[] = {{embedded, 8, 4}, {SmolLm2(), 64, 8}, {Llama70B(), 64, 8}};
  for (const auto& model : kModels) {
    const UnitScores scores = RandomScores(model.config, 1);
    const bool large = model.config.num_layers == 80;
    for (double ratio : {0.5, 0.6, 0.7, 0.8, 0.9, 0.95}) {
      if (large && ratio != 0.6) continue;
      JobSpec spec = TestJob(model.config, ratio);
      spec.tolerance = 0.005;
      spec.align_mlp = model.align_mlp;
      spec.align_head_dim = model.align_head_dim;
      spec.search.generations = large ? 2 : 4;
      auto search = MustCreate(model.config, spec, scores);
      ASSERT_NE(search, nullptr);
      const Generations generations = RunSearch(*search, FakeModel(scores, 0.5));
      ASSERT_EQ(generations.size(), static_cast<size_t>(spec.search.generations));
      for (const auto& generation : generations) EXPECT_EQ(generation.size(), 20u);
      ASSERT_NO_FATAL_FAILURE(CheckGenerations(generations, model.config, spec)) << ratio;
    }
  }
}

TEST(PaperSearchTest, SlotsHaveThePublishedOriginsAndParents) {
  const JobSpec spec = TestJob(SmallModel(), 0.7);
  const UnitScores scores = RandomScores(SmallModel(), 1);
  auto search = MustCreate(SmallModel(), spec, scores);
  ASSERT_NE(search, nullptr);
  const FakeModel model(scores, 0.5);
  EXPECT_EQ(search->Generation()[0].subnet, search->initial());
  EXPECT_EQ(search->Generation()[0].origin, Origin::kInitial);
  EXPECT_TRUE(search->Generation()[0].parents.empty());
  for (size_t i = 1; i < 20; ++i) {
    EXPECT_EQ(search->Generation()[i].origin, Origin::kInitialMutation);
    EXPECT_EQ(search->Generation()[i].parents, (std::vector<CandidateId>{{0, 0}}));
  }
  while (true) {
    ASSERT_TRUE(search->Report(model.Fitness(search->Generation())).ok());
    if (search->Done()) break;
    std::set<CandidateId> survivors;
    for (const ScoredCandidate& s : search->survivors()) survivors.insert(s.candidate.id);
    EXPECT_EQ(survivors.size(), 5u);
    std::map<Origin, int> origins;
    for (const Candidate& candidate : search->Generation()) {
      ++origins[candidate.origin];
      const size_t parents = candidate.origin == Origin::kCrossover ? 2 : 1;
      ASSERT_EQ(candidate.parents.size(), parents);
      if (candidate.origin == Origin::kInitialMutation) {
        EXPECT_EQ(candidate.parents[0], (CandidateId{0, 0}));
        continue;
      }
      for (const CandidateId& parent : candidate.parents) EXPECT_TRUE(survivors.contains(parent));
      if (parents == 2) {
        EXPECT_NE(candidate.parents[0], candidate.parents[1]);
      }
    }
    EXPECT_EQ(origins, (std::map<Origin, int>{{Origin::kMutation, 10},
                                              {Origin::kCrossover, 6},
                                              {Origin::kInitialMutation, 4}}));
  }
}

TEST(PaperSearchTest, DrawsTheSameOneByOne) {
  const JobSpec spec = TestJob(SmallModel(), 0.7);
  const UnitScores scores = RandomScores(SmallModel(), 1);
  auto at_once = MustCreate(SmallModel(), spec, scores);
  auto one_by_one = MustCreate(SmallModel(), spec, scores);
  ASSERT_NE(at_once, nullptr);
  ASSERT_NE(one_by_one, nullptr);
  const FakeModel model(scores, 0.5);
  while (!at_once->Done()) {
    const std::vector<Candidate> all = at_once->Generation();
    for (size_t i = 0; i < all.size(); ++i) {
      ASSERT_EQ(one_by_one->Drawn().size(), i + 1);
      EXPECT_EQ(one_by_one->Drawn().back().fingerprint, all[i].fingerprint);
      EXPECT_EQ(one_by_one->DrawNext(), i + 1 < all.size());
    }
    ASSERT_TRUE(at_once->Report(model.Fitness(all)).ok());
    ASSERT_TRUE(one_by_one->Report(model.Fitness(all)).ok());
  }
  EXPECT_TRUE(one_by_one->Done());
  EXPECT_FALSE(one_by_one->DrawNext());
}

TEST(PaperSearchTest, ForgetsTheMasksOfThoseThatCannotSurvive) {
  JobSpec spec = TestJob(SmallModel(), 0.7);
  spec.search.survivors = 3;
  const UnitScores scores = RandomScores(SmallModel(), 1);
  auto forgetful = MustCreate(SmallModel(), spec, scores);
  auto other = MustCreate(SmallModel(), spec, scores);
  ASSERT_NE(forgetful, nullptr);
  ASSERT_NE(other, nullptr);
  const FakeModel model(scores, 0.5);
  while (!other->Done()) {
    const std::vector<double> fitness = model.Fitness(other->Generation());
    ASSERT_EQ(forgetful->Generation().size(), fitness.size());
    for (size_t i = fitness.size(); i-- > 0;) forgetful->Scored(i, fitness[i]);
    const auto kept =
        std::count_if(forgetful->Drawn().begin(), forgetful->Drawn().end(),
                      [](const Candidate& candidate) { return !candidate.subnet.layers.empty(); });
    EXPECT_LE(kept, 3);
    ASSERT_TRUE(forgetful->Report(fitness).ok());
    ASSERT_TRUE(other->Report(fitness).ok());
    ASSERT_EQ(forgetful->survivors().size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(forgetful->survivors()[i].candidate.subnet, other->survivors()[i].candidate.subnet);
    }
  }
}

TEST(PaperSearchTest, SurvivorsAreTheBestOfAllAndNeverWorsen) {
  JobSpec spec = TestJob(SmallModel(), 0.7);
  spec.search.generations = 10;
  const UnitScores scores = RandomScores(SmallModel(), 1);
  auto search = MustCreate(SmallModel(), spec, scores);
  ASSERT_NE(search, nullptr);
  const FakeModel model(scores, 0.7);
  std::vector<double> all;
  double best = std::numeric_limits<double>::infinity();
  while (!search->Done()) {
    const std::vector<double> fitness = model.Fitness(search->Generation());
    all.insert(all.end(), fitness.begin(), fitness.end());
    ASSERT_TRUE(search->Report(fitness).ok());
    std::sort(all.begin(), all.end());
    ASSERT_EQ(search->survivors().size(), 5u);
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(search->survivors()[i].fitness, all[i]);
    EXPECT_LE(search->best().fitness, best);
    best = search->best().fitness;
    EXPECT_EQ(model.Fitness(search->best().candidate.subnet), best);
  }
}

TEST(PaperSearchTest, FindsBetterSubnetsThanItsStartAndThanRandomOnes) {
  const ModelConfig config = SmallModel();
  JobSpec spec = TestJob(config, 0.7);
  spec.search.generations = 40;
  const UnitScores scores = RandomScores(config, 1);
  const FakeModel model(scores, 0.7);
  auto search = MustCreate(config, spec, scores);
  ASSERT_NE(search, nullptr);
  RunSearch(*search, model);
  const double initial = model.Fitness(search->initial());
  double random = std::numeric_limits<double>::infinity();
  for (uint64_t seed = 0; seed < 40 * 20; ++seed) {
    const auto subnet = RandomSubnet(config, spec, seed);
    ASSERT_TRUE(subnet.ok());
    random = std::min(random, model.Fitness(*subnet));
  }
  EXPECT_LT(initial, random);
  EXPECT_LT(search->best().fitness, 0.93 * initial);
}

TEST(PaperSearchTest, TheSeedDecidesEverything) {
  const ModelConfig config = SmallModel();
  JobSpec spec = TestJob(config, 0.7);
  const UnitScores scores = RandomScores(config, 1);
  const FakeModel model(scores, 0.5);
  const auto run = [&](uint64_t seed) {
    spec.seed = seed;
    return Fingerprints(RunSearch(*MustCreate(config, spec, scores), model));
  };
  const std::vector<std::string> first = run(5);
  EXPECT_EQ(run(5), first);
  const std::vector<std::string> other = run(6);
  EXPECT_EQ(other[0], first[0]);  // the initial architecture follows from the scores
  EXPECT_NE(other[1], first[1]);
}

TEST(PaperSearchTest, ReplayFromRecordedFitnessGoesOnAlike) {
  const ModelConfig config = SmallModel();
  JobSpec spec = TestJob(config, 0.7);
  spec.search.generations = 6;
  const UnitScores scores = RandomScores(config, 1);
  const FakeModel model(scores, 0.5);
  auto search = MustCreate(config, spec, scores);
  std::vector<std::vector<double>> recorded;
  for (int i = 0; i < 3; ++i) {
    recorded.push_back(model.Fitness(search->Generation()));
    ASSERT_TRUE(search->Report(recorded.back()).ok());
  }
  auto replay = MustCreate(config, spec, scores);
  for (const auto& fitness : recorded) ASSERT_TRUE(replay->Report(fitness).ok());
  EXPECT_EQ(Fingerprints(RunSearch(*replay, model)), Fingerprints(RunSearch(*search, model)));
  EXPECT_EQ(replay->best().candidate.id, search->best().candidate.id);
}

TEST(PaperSearchTest, EndsEarlyWhenTheSpaceIsExhausted) {
  ModelConfig config = TinyModel();
  config.intermediate_size = 3;
  JobSpec spec = TestJob(config, 0.93);
  spec.tolerance = 0.02;
  spec.align_mlp = 3;  // the MLP is always whole
  spec.search.attention_min_ratio = 0.75;
  spec.search.min_layers = 3;
  spec.search.generations = 1000;
  const UnitScores scores = RandomScores(config, 1);
  auto search = MustCreate(config, spec, scores);
  ASSERT_NE(search, nullptr);
  const Generations generations = RunSearch(*search, FakeModel(scores, 0.5));
  ASSERT_NO_FATAL_FAILURE(CheckGenerations(generations, config, spec));
  EXPECT_LT(generations.size(), 1000u);
  // One of three layers omits one of four pairs in each of its two groups: 3 * 4 * 4 subnets.
  EXPECT_LE(Fingerprints(generations).size(), 48u);
  EXPECT_GT(Fingerprints(generations).size(), 32u);
}

TEST(PaperSearchTest, WithoutProbabilitiesNeighboursFillTheGeneration) {
  JobSpec spec = TestJob(SmallModel(), 0.7);
  spec.search.mutation = spec.search.initial_mutation = {.mask = 0, .ratio = 0, .depth = 0};
  const UnitScores scores = RandomScores(SmallModel(), 1);
  auto search = MustCreate(SmallModel(), spec, scores);
  ASSERT_NE(search, nullptr);
  const Generations generations = RunSearch(*search, FakeModel(scores, 0.5));
  ASSERT_NO_FATAL_FAILURE(CheckGenerations(generations, SmallModel(), spec));
  for (const auto& generation : generations) EXPECT_EQ(generation.size(), 20u);
}

TEST(PaperSearchTest, ASingleSurvivorIsMutatedInsteadOfCrossed) {
  JobSpec spec = TestJob(SmallModel(), 0.7);
  spec.search.survivors = 1;
  const UnitScores scores = RandomScores(SmallModel(), 1);
  auto search = MustCreate(SmallModel(), spec, scores);
  ASSERT_NE(search, nullptr);
  const FakeModel model(scores, 0.5);
  ASSERT_TRUE(search->Report(model.Fitness(search->Generation())).ok());
  EXPECT_EQ(search->Generation().size(), 20u);
  for (const Candidate& candidate : search->Generation()) {
    EXPECT_NE(candidate.origin, Origin::kCrossover);
  }
}

TEST(PaperSearchTest, RefusesWrongReportsAndStaysAsItWas) {
  JobSpec spec = TestJob(SmallModel(), 0.7);
  spec.search.generations = 1;
  auto search = MustCreate(SmallModel(), spec, RandomScores(SmallModel(), 1));
  ASSERT_NE(search, nullptr);
  std::vector<double> fitness(20, 1.0);
  EXPECT_THAT(std::string(search->Report({1, 2}).message()), HasSubstr("20 candidates, got 2"));
  for (double bad : {std::nan(""), -std::numeric_limits<double>::infinity()}) {
    fitness[3] = bad;
    const absl::Status status = search->Report(fitness);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("generation 0, slot 3"));
  }
  EXPECT_EQ(search->Generation().size(), 20u);
  fitness[3] = std::numeric_limits<double>::infinity();
  ASSERT_TRUE(search->Report(fitness).ok());
  EXPECT_TRUE(search->Done());
  EXPECT_EQ(search->best().candidate.id, (CandidateId{0, 0}));
  EXPECT_EQ(search->Report({}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PaperSearchTest, RefusesWhatCannotBeSearched) {
  const UnitScores scores = RandomScores(SmallModel(), 1);
  JobSpec spec = TestJob(SmallModel(), 0.05);
  EXPECT_EQ(MakePaperSearch(SmallModel(), spec, scores).status().code(),
            absl::StatusCode::kInvalidArgument);
  spec = TestJob(SmallModel(), 0.7);
  spec.search.survivors = 0;
  EXPECT_THAT(std::string(MakePaperSearch(SmallModel(), spec, scores).status().message()),
              HasSubstr("search.survivors 0"));
  spec = TestJob(SmallModel(), 0.7);
  EXPECT_THAT(
      std::string(
          MakePaperSearch(SmallModel(), spec, RandomScores(TinyModel(), 1)).status().message()),
      HasSubstr("3 layers, the model has 8"));
}

TEST(OriginNameTest, IsWhatTheLogSays) {
  EXPECT_EQ(OriginName(Origin::kInitial), "initial");
  EXPECT_EQ(OriginName(Origin::kInitialMutation), "initial_mutation");
  EXPECT_EQ(OriginName(Origin::kMutation), "mutation");
  EXPECT_EQ(OriginName(Origin::kCrossover), "crossover");
  EXPECT_EQ(OriginName(Origin::kSensitivity), "sensitivity");
  EXPECT_EQ(OriginName(Origin::kOffspring), "offspring");
  EXPECT_EQ(OriginName(Origin::kFinalist), "finalist");
}

}  // namespace
}  // namespace espalier
