#include "coordinator/jobs/losses.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace espalier {

absl::Status CheckEvaluation(const EvaluateResult& result, const EvaluateWork& work,
                             int64_t sequence_length) {
  if (static_cast<int64_t>(result.nll_sums.size()) != work.count) {
    return absl::InvalidArgumentError(absl::StrCat("an evaluation of ", work.count,
                                                   " sequences was answered with losses of ",
                                                   result.nll_sums.size()));
  }
  if (result.predictions_per_sequence != sequence_length - 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequences of ", sequence_length, " tokens have ", sequence_length - 1,
                     " predictions each, the answer says ", result.predictions_per_sequence));
  }
  if (work.divergence && std::ssize(result.kl_sums) != work.count) {
    return absl::InvalidArgumentError(absl::StrCat("an evaluation of ", work.count,
                                                   " sequences was answered with divergences of ",
                                                   result.kl_sums.size()));
  }
  for (const double kl : result.kl_sums) {
    // Never negative but for rounding.
    if (kl < -1e-3 * static_cast<double>(sequence_length)) {
      return absl::InvalidArgumentError(absl::StrCat("a sum of divergences cannot be ", kl));
    }
  }
  for (const double nll : result.nll_sums) {
    if (nll < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("a sum of negative log-likelihoods cannot be ", nll));
    }
  }
  return absl::OkStatus();
}

double PerplexityOf(const std::vector<double>& nll_sums, int64_t predictions_per_sequence) {
  double sum = 0;
  for (const double nll : nll_sums) sum += nll / static_cast<double>(predictions_per_sequence);
  const double perplexity = std::exp(sum / static_cast<double>(nll_sums.size()));
  return std::isnan(perplexity) ? std::numeric_limits<double>::infinity() : perplexity;
}

double DivergenceOf(const std::vector<double>& kl_sums, int64_t predictions_per_sequence) {
  const double sum = std::accumulate(kl_sums.begin(), kl_sums.end(), 0.0);
  const double mean =
      sum / (static_cast<double>(kl_sums.size()) * static_cast<double>(predictions_per_sequence));
  return std::isfinite(mean) ? mean : std::numeric_limits<double>::infinity();
}

Losses::Losses(const DataSetInfo& data_set)
    : nll_sums_(data_set.count),
      sequence_length_(data_set.sequence_length),
      missing_(data_set.count) {}

std::vector<Losses::Range> Losses::Ranges() const {
  constexpr int64_t kMostRanges = 32;
  const int64_t total = static_cast<int64_t>(nll_sums_.size());
  const int64_t step = std::max<int64_t>(1, (total + kMostRanges - 1) / kMostRanges);
  std::vector<Range> ranges;
  for (int64_t first = 0; first < total; first += step) {
    ranges.push_back({.first = first, .count = std::min(step, total - first)});
  }
  return ranges;
}

void Losses::Add(int64_t first, const EvaluateResult& result, double seconds) {
  std::copy(result.nll_sums.begin(), result.nll_sums.end(), nll_sums_.begin() + first);
  missing_ -= static_cast<int64_t>(result.nll_sums.size());
  seconds_ += seconds;
}

double Losses::Perplexity() const { return PerplexityOf(nll_sums_, sequence_length_ - 1); }

double Losses::TokensPerSecond() const {
  const double tokens =
      static_cast<double>(sequence_length_) * static_cast<double>(nll_sums_.size());
  return seconds_ > 0 ? tokens / seconds_ : 0;
}

}  // namespace espalier
