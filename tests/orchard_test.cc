// The embedded model shows the trade-off that the method lives on: at 70 % of the parameters the
// searched and reformed subnet is clearly better than the initial one, and than a random one of
// equal size, on text that neither calibration nor search has seen.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "common/job_spec.h"
#include "common/rng.h"
#include "common/status_macros.h"
#include "common/text.h"
#include "common/tokenizer.h"
#include "coordinator/search/search.h"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

constexpr char kModel[] = "models/orchard";

struct Perplexities {
  double dense = 0;
  double random = 0;
  double initial = 0;
  double searched = 0;
  double reformed = 0;
};

absl::StatusOr<double> Score(Engine* engine, const Subnet& subnet, const TokenSequences& sequences,
                             const ReformedWeights* reformed = nullptr) {
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<SequenceLoss> losses,
                            engine->Evaluate(subnet, sequences, {.reformed = reformed}));
  return Perplexity(losses);
}

// The three stages, without a service around them and with a short search.
absl::StatusOr<Perplexities> RunStages() {
  ESPALIER_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Load(kModel, {}));
  const ModelConfig& config = engine->config();
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.model = kModel;
  spec.text.path = std::string(kModel) + "/valid.txt";
  spec.output = "unused";
  spec.ratio = 0.7;
  spec.seed = 3;
  spec.search.generations = 8;
  spec.search.mutations = 20;
  spec.search.crossovers = 12;
  spec.search.initial_mutations = 8;
  ESPALIER_ASSIGN_OR_RETURN(spec, ResolveDefaults(spec, config));

  ESPALIER_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(kModel));
  const auto ids = [&](const char* file) {
    return TokenizeFile(*tokenizer, std::string(kModel) + "/" + file, TextFormat::kWikiText);
  };
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<int32_t> valid, ids("valid.txt"));
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<int32_t> test, ids("test.txt"));
  const int64_t length = spec.sequence_length;
  const auto sample = [&](int64_t count, RandomPurpose purpose) {
    return SampleSequences(valid, length, count, spec.seed, static_cast<uint32_t>(purpose),
                           "valid.txt");
  };
  ESPALIER_ASSIGN_OR_RETURN(const TokenSequences calibration_text,
                            sample(128, RandomPurpose::kCalibrationSample));
  ESPALIER_ASSIGN_OR_RETURN(const TokenSequences search_text,
                            sample(8, RandomPurpose::kSearchSample));
  ESPALIER_ASSIGN_OR_RETURN(const TokenSequences held_out,
                            FirstSequences(test, length, 40, "test.txt"));

  ESPALIER_ASSIGN_OR_RETURN(const std::shared_ptr<const Calibration> calibration,
                            engine->Calibrate(calibration_text));
  ESPALIER_ASSIGN_OR_RETURN(const UnitScores scores,
                            engine->Importance(*calibration, spec.importance_damping));
  ESPALIER_ASSIGN_OR_RETURN(const std::unique_ptr<SubnetSearch> search,
                            MakePaperSearch(config, spec, scores));
  while (!search->Done()) {
    std::vector<double> fitness;
    for (const Candidate& candidate : search->Generation()) {
      ESPALIER_ASSIGN_OR_RETURN(const double perplexity,
                                Score(engine.get(), candidate.subnet, search_text));
      fitness.push_back(perplexity);
    }
    ESPALIER_RETURN_IF_ERROR(search->Report(fitness));
  }
  const Subnet& best = search->best().candidate.subnet;
  ESPALIER_ASSIGN_OR_RETURN(const Reformation reformation,
                            engine->Reform(*calibration, best, spec.reformation));
  ESPALIER_ASSIGN_OR_RETURN(const Subnet random, RandomSubnet(config, spec, spec.seed));

  Perplexities result;
  ESPALIER_ASSIGN_OR_RETURN(result.dense, Score(engine.get(), Subnet::Dense(config), held_out));
  ESPALIER_ASSIGN_OR_RETURN(result.random, Score(engine.get(), random, held_out));
  ESPALIER_ASSIGN_OR_RETURN(result.initial, Score(engine.get(), search->initial(), held_out));
  ESPALIER_ASSIGN_OR_RETURN(result.searched, Score(engine.get(), best, held_out));
  ESPALIER_ASSIGN_OR_RETURN(result.reformed,
                            Score(engine.get(), best, held_out, reformation.weights.get()));
  return result;
}

TEST(OrchardTest, SearchedAndReformedBeatsInitialAndRandom) {
  const absl::StatusOr<Perplexities> result = RunStages();
  ASSERT_TRUE(result.ok()) << result.status();
  std::printf("dense %.2f, random %.2f, initial %.2f, searched %.2f, reformed %.2f\n",
              result->dense, result->random, result->initial, result->searched, result->reformed);
  EXPECT_LT(result->dense, result->reformed);
  EXPECT_LT(result->reformed, 0.8 * result->initial);
  EXPECT_LT(result->searched, 0.8 * result->initial);
  EXPECT_LT(result->reformed, 0.5 * result->random);
}

}  // namespace
}  // namespace espalier
