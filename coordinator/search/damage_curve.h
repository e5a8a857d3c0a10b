// What the options of a module will cost, from the few that were measured.
#ifndef ESPALIER_COORDINATOR_SEARCH_DAMAGE_CURVE_H_
#define ESPALIER_COORDINATOR_SEARCH_DAMAGE_CURVE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "coordinator/search/module_options.h"

namespace espalier::search {

// An option that was measured alone, all other modules whole. The damage is the divergence from the
// dense model: ≥ 0 up to noise, +infinity when the measurement failed.
struct MeasuredOption {
  int32_t option = 0;
  double damage = 0;
};

// A damage as a power of the error, piece by piece: linear between the measured points in
// log(error) and log(damage), the outer pieces going on beyond them. Exponents are at least 0.3
// (where the points say less, the one of the smaller error is believed), so the curve ascends.
class DamageCurve {
 public:
  struct Point {
    double error = 0;
    double damage = 0;
  };

  // In any order; at least one. Damages below 1e-5 count as that, so that noise has a logarithm.
  explicit DamageCurve(std::vector<Point> points);

  double At(double error) const;

 private:
  struct Piece {
    double log_error = 0;  // where it begins
    double log_damage = 0;
    double exponent = 1;
  };
  std::vector<Piece> pieces_;  // by error; the first one also goes on downwards
};

// Which options to measure: none of the module, and those nearest to a third and two thirds of it
// (of several as large, that of the least error). Ascending, distinct.
std::vector<int32_t> ProbesOf(const std::vector<ModuleOption>& options);

// The damage of every option: 0 for the last, all of the module; no more than that of the first,
// none of it, for the others, since they can be no worse a start. Failed measurements are left out.
// When none is left, the module is assumed to be worth keeping: damage `otherwise` · error.
std::vector<double> OptionDamages(const std::vector<ModuleOption>& options,
                                  const std::vector<MeasuredOption>& measured, double otherwise);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_DAMAGE_CURVE_H_
