#include "client/scoring.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/format.h"
#include "client/model_source.h"
#include "common/model_folder.h"
#include "common/status_macros.h"
#include "common/subnet.h"
#include "common/text.h"
#include "common/tokenizer.h"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

constexpr int64_t kTokensPerCall = 8192;
constexpr int64_t kDefaultLength = 2048;  // as in the published measurements

absl::StatusOr<TokenSequences> ReadSequences(const ScoringOptions& options,
                                             const ModelFolder& model) {
  const int64_t length = options.sequence_length > 0
                             ? options.sequence_length
                             : std::min(kDefaultLength, model.config.max_position_embeddings);
  ESPALIER_ASSIGN_OR_RETURN(auto tokenizer, LoadTokenizer(model.path));
  ESPALIER_ASSIGN_OR_RETURN(auto ids, TokenizeFile(*tokenizer, options.text, options.format));
  return FirstSequences(ids, length, options.sequences, options.text);
}

TokenSequences Slice(const TokenSequences& all, int64_t first, int64_t count) {
  const auto begin = all.tokens.begin() + first * all.sequence_length;
  return MakeTokenSequences(all.sequence_length,
                            std::vector<int32_t>(begin, begin + count * all.sequence_length));
}

absl::StatusOr<std::vector<SequenceLoss>> EvaluateAll(Engine& engine, const Subnet& subnet,
                                                      const TokenSequences& sequences,
                                                      const ScoringProgress& progress,
                                                      const std::atomic<bool>& cancelled,
                                                      double& seconds) {
  const int64_t total = sequences.count();
  const int64_t step = SequencesPerCall(sequences.sequence_length);
  const auto start = steady_clock::now();
  std::vector<SequenceLoss> losses;
  progress(0, total, 0);
  for (int64_t first = 0; first < total; first += step) {
    const TokenSequences group = Slice(sequences, first, std::min(step, total - first));
    ESPALIER_ASSIGN_OR_RETURN(
        const auto part,
        engine.Evaluate(subnet, group, {}, {.progress = {}, .cancelled = &cancelled}));
    losses.insert(losses.end(), part.begin(), part.end());
    seconds = duration<double>(steady_clock::now() - start).count();
    progress(static_cast<int64_t>(losses.size()), total, seconds);
  }
  return losses;
}

}  // namespace

int64_t SequencesPerCall(int64_t sequence_length) {
  return std::max<int64_t>(1, kTokensPerCall / sequence_length);
}

absl::StatusOr<Score> ScoreModel(const ScoringOptions& options, const EngineLoader& loader,
                                 const ScoringProgress& progress,
                                 const std::atomic<bool>& cancelled) {
  // Everything that can be wrong with the input is found before the weights are read.
  ESPALIER_ASSIGN_OR_RETURN(const std::filesystem::path folder, LocateModel(options.model));
  ESPALIER_ASSIGN_OR_RETURN(const ModelFolder model, OpenModelFolder(folder));
  ESPALIER_ASSIGN_OR_RETURN(const Subnet subnet, ChooseSubnet(model, options.masks));
  ESPALIER_ASSIGN_OR_RETURN(const TokenSequences sequences, ReadSequences(options, model));
  if (cancelled) return absl::CancelledError("interrupted");

  ESPALIER_ASSIGN_OR_RETURN(const auto engine, loader(folder, {.device = options.device,
                                                               .precision = options.precision,
                                                               .threads = options.threads}));
  double seconds = 0;
  ESPALIER_ASSIGN_OR_RETURN(const auto losses,
                            EvaluateAll(*engine, subnet, sequences, progress, cancelled, seconds));

  Score score;
  for (const SequenceLoss& loss : losses) {
    score.nll_per_sequence.push_back(loss.nll_sum / static_cast<double>(loss.predictions));
  }
  score.perplexity =
      std::exp(std::accumulate(score.nll_per_sequence.begin(), score.nll_per_sequence.end(), 0.0) /
               static_cast<double>(losses.size()));
  score.parameters = CountParameters(subnet, model.config);
  score.ratio = ParameterRatio(subnet, model.config);
  score.sequence_length = sequences.sequence_length;
  if (seconds > 0) score.tokens_per_second = static_cast<double>(sequences.tokens.size()) / seconds;
  return score;
}

std::string ScoreTable(const Score& score) {
  return absl::StrCat("perplexity  ", FormatPerplexity(score.perplexity), "\n", "parameters  ",
                      FormatCount(score.parameters), " (", FormatPercent(score.ratio),
                      " of the dense model)\n", "text        ",
                      FormatCount(static_cast<int64_t>(score.nll_per_sequence.size())),
                      " sequences of ", FormatCount(score.sequence_length), " tokens\n",
                      "speed       ", FormatRate(score.tokens_per_second), " tokens/s\n");
}

nlohmann::ordered_json ScoreToJson(const Score& score) {
  return {{"perplexity", score.perplexity},
          {"nll_per_sequence", score.nll_per_sequence},
          {"parameters", score.parameters},
          {"ratio", score.ratio},
          {"sequences", score.nll_per_sequence.size()},
          {"sequence_length", score.sequence_length},
          {"tokens_per_second", score.tokens_per_second}};
}

}  // namespace espalier
