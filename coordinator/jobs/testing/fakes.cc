#include "coordinator/jobs/testing/fakes.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/model_folder.h"
#include "common/rng.h"
#include "common/sha256.h"

namespace espalier::testing_fakes {
namespace {

constexpr int64_t kSequenceLength = 8;
constexpr char kText[] = "/texts/train.txt";

// 48 bits of the text's SHA-256.
uint64_t Digest(const std::string& text) {
  return std::strtoull(Sha256Hex(text).substr(0, 12).c_str(), nullptr, 16);
}

Subnet DrawSubnet(const ModelConfig& config, RandomStream& random) {
  Subnet subnet = Subnet::Dense(config);
  for (LayerMask& layer : subnet.layers) {
    for (Bitmask& group : layer.attention) {
      group = Bitmask::FromIndices(config.pairs(), random.Sample(config.pairs(), 1));
    }
    layer.mlp =
        Bitmask::FromIndices(config.intermediate_size, random.Sample(config.intermediate_size, 5));
  }
  return subnet;
}

class FakeSearch final : public SubnetSearch {
 public:
  FakeSearch(ModelConfig config, const JobSpec& spec) : config_(config), spec_(spec) {
    history_ = absl::StrCat(spec.seed);
    DrawNext();
    initial_ = candidates_.front().subnet;
  }

  const Subnet& initial() const override { return initial_; }
  bool Done() const override { return candidates_.empty(); }
  int64_t most_candidates() const override {
    return spec_.search.generations * spec_.search.population();
  }
  const std::vector<Candidate>& Drawn() const override { return candidates_; }
  const ScoredCandidate& best() const override { return survivors_.front(); }
  const std::vector<ScoredCandidate>& survivors() const override { return survivors_; }

  absl::Status Report(const std::vector<double>& fitness) override {
    if (fitness.size() != Generation().size()) return absl::InvalidArgumentError("wrong size");
    for (size_t i = 0; i < fitness.size(); ++i) {
      absl::StrAppend(&history_, ",", absl::Hex(Digest(std::to_string(fitness[i]))));
      if (survivors_.empty() || fitness[i] < survivors_.front().fitness) {
        survivors_ = {{.candidate = candidates_[i], .fitness = fitness[i]}};
      }
    }
    ++generation_;
    candidates_.clear();
    DrawNext();
    return absl::OkStatus();
  }

  bool DrawNext() override {
    const int64_t slot = std::ssize(candidates_);
    if (generation_ >= spec_.search.generations || slot >= spec_.search.population()) return false;
    RandomStream random(Digest(history_), RandomPurpose::kTest, static_cast<uint32_t>(generation_),
                        static_cast<uint32_t>(slot));
    Candidate candidate;
    candidate.id = {.generation = generation_, .slot = slot};
    candidate.origin = generation_ + slot == 0 ? Origin::kInitial : Origin::kMutation;
    candidate.subnet = DrawSubnet(config_, random);
    candidate.fingerprint = Fingerprint(candidate.subnet);
    candidates_.push_back(std::move(candidate));
    return true;
  }

 private:
  const ModelConfig config_;
  const JobSpec spec_;
  std::string history_;
  Subnet initial_;
  int64_t generation_ = 0;
  std::vector<Candidate> candidates_;
  std::vector<ScoredCandidate> survivors_;
};

EvaluateResult Evaluate(const EvaluateWork& work) {
  EvaluateResult result;
  result.predictions_per_sequence = kSequenceLength - 1;
  const std::string subnet = work.subnet ? Fingerprint(*work.subnet) : "dense";
  const bool reformed = work.reformation.method != ReformationMethod::kNone;
  for (int64_t i = work.first; i < work.first + work.count; ++i) {
    const double noise =
        static_cast<double>(Digest(absl::StrCat(subnet, work.data_set, i)) % 1000000) / 1e6;
    result.nll_sums.push_back((work.subnet ? 14 : 10) * (1 + noise) * (reformed ? 0.8 : 1.0));
    if (work.divergence) result.kl_sums.push_back(noise);
  }
  return result;
}

UnitScores Scores() {
  const ModelConfig config = TinyConfig();
  LayerScores layer;
  layer.attention.assign(config.num_kv_heads, std::vector<double>(config.pairs(), 1.0));
  layer.mlp.assign(config.intermediate_size, 2.0);
  return {.layers = std::vector<LayerScores>(config.num_layers, layer)};
}

// Both groups at one pair of two, and any number of channels, the first to go first.
Ranking RankingOf(const CutSteps& steps) {
  const ModelConfig config = TinyConfig();
  LayerRanking layer;
  layer.attention.push_back(
      {std::vector<Bitmask>(config.num_kv_heads, Bitmask::FromIndices(config.pairs(), {0})), 0.2});
  for (int64_t c = 0; c < config.intermediate_size; ++c) {
    layer.channels.push_back(static_cast<int32_t>(c));
  }
  for (int64_t left = 0; left < config.intermediate_size; left += steps.channels) {
    layer.channel_errors.push_back(1.0 / static_cast<double>(1 + left));
  }
  return {.layers = std::vector<LayerRanking>(config.num_layers, layer)};
}

}  // namespace

ModelConfig TinyConfig() {
  ModelConfig config;
  config.num_layers = 2;
  config.hidden_size = 8;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 12;
  config.vocab_size = 16;
  return config;
}

JobSpec TinySpec(uint64_t seed, const std::string& output, bool held_out) {
  JobSpec spec;
  spec.name = "tiny";
  spec.method = SearchMethod::kPaper;
  spec.model = "/models/tiny";
  spec.text.path = kText;
  if (held_out) spec.eval_text.path = "/texts/test.txt";
  spec.sequence_length = kSequenceLength;
  spec.ratio = 0.7;
  spec.seed = seed;
  spec.output = output;
  spec.calibration_sequences = 4;
  spec.search.generations = 3;
  spec.search.mutations = 4;
  spec.search.crossovers = 2;
  spec.search.initial_mutations = 1;
  spec.search.survivors = 2;
  spec.search.sequences = 2;
  return spec;
}

JobSpec TinyAllocationSpec(uint64_t seed, const std::string& output, bool held_out) {
  JobSpec spec = TinySpec(seed, output, held_out);
  spec.method = SearchMethod::kEspalier;
  spec.reformation.method = ReformationMethod::kProgressive;
  spec.align_mlp = 1;
  spec.align_head_dim = 2;
  spec.tolerance = 0.1;
  spec.allocation = {.sequences = 2,
                     .sequence_length = kSequenceLength,
                     .generations = 3,
                     .offspring = 4,
                     .finalists = 2};
  return spec;
}

PreparedJob Prepared(const JobSpec& spec) {
  PreparedJob job;
  job.spec = spec;
  job.config = TinyConfig();
  const std::string text = spec.text.path == kText ? "" : " of " + spec.text.path;
  job.calibration = {.hash = "calibration" + text, .sequence_length = kSequenceLength, .count = 4};
  job.search = {.hash = "search", .sequence_length = kSequenceLength, .count = 2};
  job.eval = job.search;
  if (!spec.eval_text.path.empty()) {
    job.eval = {.hash = "eval", .sequence_length = kSequenceLength, .count = 5};
    job.eval_text_hash = Sha256Hex("eval");
  }
  job.text_hash = Sha256Hex("text");
  return job;
}

WorkerInfo Info(const std::string& name) {
  return {.name = name,
          .device = "cpu",
          .device_name = "fake",
          .version = kTestVersion,
          .stage_address = name + ":7072"};
}

absl::StatusOr<std::unique_ptr<SubnetSearch>> FakeSearchFactory::Create(
    const ModelConfig& config, const JobSpec& spec, const UnitScores& scores,
    const Ranking& ranking) const {
  if (IsBaseline(spec.method)) return MakeBaselineSearch(config, spec, scores);
  if (spec.method == SearchMethod::kEspalier) return MakeAllocationSearch(config, spec, ranking);
  return std::make_unique<FakeSearch>(config, spec);
}

ModelDigest FakeDigest(const std::string& path, const StageRange& stage) {
  const ModelConfig config = TinyConfig();
  ModelDigest digest{.description = "tiny", .tensors = {}};
  for (const std::string& name : StageTensorNames(config, Subnet::Dense(config), stage)) {
    digest.tensors[name] = Sha256Hex(absl::StrCat(path, " ", name));
  }
  return digest;
}

Outcome FakeAnswer(const SendTask& task) {
  const StageRange& stage = task.stage;
  if (std::holds_alternative<LoadWork>(task.work)) {
    return LoadResult{.digest = FakeDigest(task.model.path, stage), .weight_bytes = 1000};
  }
  if (std::holds_alternative<CalibrateWork>(task.work)) {
    const UnitScores all = Scores();
    CalibrateResult result;
    result.scores.layers.assign(all.layers.begin() + stage.first, all.layers.begin() + stage.end());
    if (const auto& steps = std::get<CalibrateWork>(task.work).steps) {
      const Ranking ranking = RankingOf(*steps);
      result.ranking.layers.assign(ranking.layers.begin() + stage.first,
                                   ranking.layers.begin() + stage.end());
    }
    return result;
  }
  if (const auto* evaluate = std::get_if<EvaluateWork>(&task.work)) {
    return task.last_stage ? Evaluate(*evaluate) : EvaluateResult{};
  }
  if (std::holds_alternative<ReformWork>(task.work)) {
    ReformResult result;
    if (stage.first <= 1 && stage.end() > 1) {
      result.errors = {{.layer = 1, .mlp = true, .before = 0.5, .after = 0.25}};
    }
    return result;
  }
  return ExportResult{.bytes = 4096};
}

}  // namespace espalier::testing_fakes
