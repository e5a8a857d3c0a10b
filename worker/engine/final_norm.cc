#include "worker/engine/final_norm.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "common/status_macros.h"

namespace espalier {
namespace {

constexpr double kLeast = 0.5;
constexpr double kMost = 1.2;
constexpr double kPrecision = 0.005;

}  // namespace

int64_t HeldBack(int64_t sequences) { return sequences < 8 ? 0 : (sequences + 15) / 16; }

absl::StatusOr<at::Tensor> FitFinalNorm(const ResidentModel& model, const at::Tensor& dense,
                                        const at::Tensor& subnet, const int32_t* tokens,
                                        int64_t sequences, int64_t length, Backend* backend,
                                        const Control& control) {
  if (sequences == 0) return at::Tensor();
  const DenseRows predictions = backend->Predictions(model, dense);
  const auto divergence = [&](double c) -> absl::StatusOr<double> {
    if (Cancelled(control)) return CancelledError();
    double sum = 0;
    for (const LossSums& part : backend->Losses(model, model.final_norm * c, subnet, tokens,
                                                sequences, length, &predictions)) {
      sum += part.kl;
    }
    return sum;
  };
  ESPALIER_ASSIGN_OR_RETURN(const double unchanged, divergence(1));
  if (!std::isfinite(unchanged)) return at::Tensor();
  // Golden section: of two inner points, the better one is an inner point of the next interval.
  const double share = (std::sqrt(5.0) - 1) / 2;
  double low = kLeast;
  double high = kMost;
  double left = high - share * (high - low);
  double right = low + share * (high - low);
  ESPALIER_ASSIGN_OR_RETURN(double left_value, divergence(left));
  ESPALIER_ASSIGN_OR_RETURN(double right_value, divergence(right));
  while (high - low > kPrecision) {
    if (left_value < right_value) {
      high = right;
      right = left;
      right_value = left_value;
      left = high - share * (high - low);
      ESPALIER_ASSIGN_OR_RETURN(left_value, divergence(left));
    } else {
      low = left;
      left = right;
      left_value = right_value;
      right = low + share * (high - low);
      ESPALIER_ASSIGN_OR_RETURN(right_value, divergence(right));
    }
  }
  const double factor = left_value < right_value ? left : right;
  // What is within the search's precision of 1 is no finding, but rounding.
  if (std::min(left_value, right_value) >= unchanged || std::abs(factor - 1) < kPrecision) {
    return at::Tensor();
  }
  return model.final_norm * factor;
}

}  // namespace espalier
