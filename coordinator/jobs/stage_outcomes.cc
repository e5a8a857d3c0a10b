#include "coordinator/jobs/stage_outcomes.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

absl::Status Merge(const CalibrateResult& part, const StageRange& range, bool /*last*/,
                   CalibrateResult* whole) {
  const std::vector<LayerScores>& layers = part.scores.layers;
  if (static_cast<int64_t>(layers.size()) != range.count) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores of ", layers.size(), " layers from a stage of ", range.count));
  }
  whole->scores.layers.insert(whole->scores.layers.end(), layers.begin(), layers.end());
  const std::vector<LayerRanking>& ranking = part.ranking.layers;
  if (!ranking.empty() && std::ssize(ranking) != range.count) {
    return absl::InvalidArgumentError(
        absl::StrCat("a ranking of ", ranking.size(), " layers from a stage of ", range.count));
  }
  whole->ranking.layers.insert(whole->ranking.layers.end(), ranking.begin(), ranking.end());
  return absl::OkStatus();
}

absl::Status Merge(const EvaluateResult& part, const StageRange&, bool last,
                   EvaluateResult* whole) {
  if (last) {
    *whole = part;
  } else if (!part.nll_sums.empty()) {
    return absl::InvalidArgumentError("losses from a stage that is not the last one");
  }
  return absl::OkStatus();
}

absl::Status Merge(const ReformResult& part, const StageRange& range, bool /*last*/,
                   ReformResult* whole) {
  for (const LinearFit& fit : part.errors) {
    if (fit.layer >= range.first && fit.layer < range.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat("a reformation error of layer ", fit.layer,
                                                   " from the stage of the layers ", range.first,
                                                   " to ", range.end() - 1));
  }
  whole->errors.insert(whole->errors.end(), part.errors.begin(), part.errors.end());
  return absl::OkStatus();
}

absl::Status Merge(const ExportResult& part, const StageRange&, bool /*last*/,
                   ExportResult* whole) {
  whole->bytes += part.bytes;
  return absl::OkStatus();
}

template <typename Result>
absl::StatusOr<Outcome> MergeAll(const std::vector<Outcome>& parts,
                                 const std::vector<StageRange>& split) {
  Result whole;
  for (size_t stage = 0; stage < parts.size(); ++stage) {
    const auto* part = std::get_if<Result>(&parts[stage]);
    if (part == nullptr) {
      return absl::InvalidArgumentError("the stages answered with results of different kinds");
    }
    ESPALIER_RETURN_IF_ERROR(Merge(*part, split[stage], stage + 1 == parts.size(), &whole));
  }
  return Outcome(std::move(whole));
}

}  // namespace

absl::StatusOr<Outcome> MergeOutcomes(const std::vector<Outcome>& parts,
                                      const std::vector<StageRange>& split) {
  if (parts.size() == 1) return parts.front();
  const Outcome& first = parts.front();
  if (std::holds_alternative<CalibrateResult>(first))
    return MergeAll<CalibrateResult>(parts, split);
  if (std::holds_alternative<EvaluateResult>(first)) return MergeAll<EvaluateResult>(parts, split);
  if (std::holds_alternative<ReformResult>(first)) return MergeAll<ReformResult>(parts, split);
  if (std::holds_alternative<ExportResult>(first)) return MergeAll<ExportResult>(parts, split);
  return absl::InvalidArgumentError("an answer of a kind that stages do not give");
}

}  // namespace espalier
