// `espalier eval` without its command line: a model or subnet, a text, a loss per sequence.
#ifndef ESPALIER_CLIENT_SCORING_H_
#define ESPALIER_CLIENT_SCORING_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/text_format.h"
#include "nlohmann/json.hpp"
#include "worker/service/worker.h"

namespace espalier {

struct ScoringOptions {
  std::string model;  // model, compact, padded or result folder
  std::string masks;  // file; empty: the model's own
  std::string text;
  TextFormat format = TextFormat::kPlain;
  int64_t sequence_length = 0;  // 0 = min(2048, max_position_embeddings)
  int64_t sequences = 0;        // 0 = all whole sequences
  Precision precision = Precision::kFloat32;
  std::string device = "cpu";
  int threads = 0;  // 0 = all cores
};

struct Score {
  std::vector<double> nll_per_sequence;  // mean over a sequence's predictions
  double perplexity = 0;                 // exp of the mean of those
  int64_t parameters = 0;                // of the subnet
  double ratio = 0;                      // of the dense model's parameters
  int64_t sequence_length = 0;
  double tokens_per_second = 0;  // of the evaluation alone, without loading
};

// Follows an evaluation: sequences done and in all, seconds since it began (without loading).
using ScoringProgress = std::function<void(int64_t done, int64_t total, double seconds)>;

// CANCELLED soon after `cancelled` becomes true. Errors name the file.
absl::StatusOr<Score> ScoreModel(const ScoringOptions& options, const EngineLoader& loader,
                                 const ScoringProgress& progress,
                                 const std::atomic<bool>& cancelled);

// Sequences per call of the engine: enough to keep it busy, few enough for steady progress.
int64_t SequencesPerCall(int64_t sequence_length);

std::string ScoreTable(const Score& score);
nlohmann::ordered_json ScoreToJson(const Score& score);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_SCORING_H_
