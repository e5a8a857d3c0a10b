#include "coordinator/search/damage_curve.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <tuple>

namespace espalier::search {
namespace {

// Measured divergences are good to about this much.
constexpr double kLeastDamage = 1e-5;
// Some cuts cost nothing; their logarithm must be a number.
constexpr double kLeastError = 1e-12;
// A flat piece says that cutting on is free: that is noise, not a finding.
constexpr double kLeastExponent = 0.3;
// For a single point: the divergence is quadratic in a small change of the logits, and the error is
// a squared change already.
constexpr double kLoneExponent = 1;
// Points that are nearer than this have no slope.
constexpr double kLeastLogDistance = 1e-6;

double LogError(double error) { return std::log(std::max(error, kLeastError)); }
double LogDamage(double damage) { return std::log(std::max(damage, kLeastDamage)); }

}  // namespace

DamageCurve::DamageCurve(std::vector<Point> points) {
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
    return std::tie(a.error, a.damage) < std::tie(b.error, b.damage);
  });
  for (const Point& point : points) {
    Piece next{.log_error = LogError(point.error),
               .log_damage = LogDamage(point.damage),
               .exponent = kLoneExponent};
    if (!pieces_.empty()) {
      Piece& last = pieces_.back();
      const double distance = next.log_error - last.log_error;
      if (distance < kLeastLogDistance) {
        last.log_damage = std::max(last.log_damage, next.log_damage);
        continue;
      }
      last.exponent = std::max(kLeastExponent, (next.log_damage - last.log_damage) / distance);
      next.log_damage = last.log_damage + last.exponent * distance;
      next.exponent = last.exponent;
    }
    pieces_.push_back(next);
  }
}

double DamageCurve::At(double error) const {
  const double log_error = LogError(error);
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), log_error,
                                [](double x, const Piece& p) { return x < p.log_error; });
  if (piece != pieces_.begin()) --piece;
  return std::exp(piece->log_damage + piece->exponent * (log_error - piece->log_error));
}

std::vector<int32_t> ProbesOf(const std::vector<ModuleOption>& options) {
  const auto last = static_cast<int32_t>(options.size()) - 1;
  if (last == 0) return {};
  std::vector<int32_t> probes = {0};
  for (const int64_t thirds : {1, 2}) {
    int32_t nearest = 0;
    int64_t least = std::numeric_limits<int64_t>::max();
    // Sorted by size and error: the first of a size has the least error.
    for (int32_t i = 1; i < last; ++i) {
      const int64_t distance = std::abs(3 * options[i].units - thirds * options[last].units);
      if (distance < least) {
        least = distance;
        nearest = i;
      }
    }
    if (nearest != probes.back()) probes.push_back(nearest);
  }
  return probes;
}

std::vector<double> OptionDamages(const std::vector<ModuleOption>& options,
                                  const std::vector<MeasuredOption>& measured, double otherwise) {
  std::vector<DamageCurve::Point> points;
  double most = std::numeric_limits<double>::infinity();
  for (const MeasuredOption& probe : measured) {
    if (!std::isfinite(probe.damage)) continue;
    points.push_back({.error = options[probe.option].error, .damage = probe.damage});
    if (probe.option == 0) most = std::max(probe.damage, kLeastDamage);
  }
  if (points.empty()) points.push_back({.error = 1, .damage = otherwise});
  const DamageCurve curve(std::move(points));
  std::vector<double> damages;
  damages.reserve(options.size());
  for (const ModuleOption& option : options) {
    damages.push_back(std::min(most, curve.At(option.error)));
  }
  // What was measured, not what it was lifted to; and without a measurement at least the largest.
  damages.front() = std::isfinite(most) ? most : *std::max_element(damages.begin(), damages.end());
  damages.back() = 0;
  return damages;
}

}  // namespace espalier::search
