#include "coordinator/search/damage_curve.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier::search {
namespace {

using ::testing::ElementsAre;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(DamageCurveTest, ReproducesAPowerLaw) {
  const auto law = [](double error) { return 3 * std::pow(error, 1.7); };
  const DamageCurve curve({{0.5, law(0.5)}, {0.1, law(0.1)}, {0.2, law(0.2)}});
  for (const double error : {0.01, 0.1, 0.15, 0.3, 0.5, 0.9}) {
    EXPECT_NEAR(curve.At(error), law(error), 1e-9) << error;
  }
}

TEST(DamageCurveTest, PiecesHaveTheirOwnExponents) {
  const DamageCurve curve({{0.1, 0.01}, {0.2, 0.02}, {0.4, 0.32}});
  EXPECT_NEAR(curve.At(0.05), 0.005, 1e-12);  // exponent 1 goes on downwards
  EXPECT_NEAR(curve.At(0.2), 0.02, 1e-12);
  EXPECT_NEAR(curve.At(0.8), 0.32 * 16, 1e-9);  // exponent 4 upwards
}

TEST(DamageCurveTest, FlatAndDescendingMeasurementsStillAscend) {
  const DamageCurve curve({{0.1, 0.1}, {0.8, 0.05}});
  EXPECT_NEAR(curve.At(0.1), 0.1, 1e-12);
  EXPECT_NEAR(curve.At(0.8), 0.1 * std::pow(8, 0.3), 1e-12);
}

TEST(DamageCurveTest, ASinglePointIsProportional) {
  const DamageCurve curve({{0.2, 0.4}});
  EXPECT_NEAR(curve.At(0.1), 0.2, 1e-12);
  EXPECT_NEAR(curve.At(1), 2, 1e-12);
}

TEST(DamageCurveTest, TakesNoiseAndCutsThatCostNothing) {
  const DamageCurve curve({{0, -1e-3}, {0, 0}, {0.5, 0.1}});
  EXPECT_NEAR(curve.At(0), 1e-5, 1e-12);
  EXPECT_NEAR(curve.At(0.5), 0.1, 1e-3);
}

TEST(DamageCurveTest, AscendsForRandomPoints) {
  RandomStream random(5, RandomPurpose::kTest, 0, 0);
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<DamageCurve::Point> points(1 + random.Below(4));
    for (auto& [error, damage] : points) {
      error = random.Bernoulli(0.1) ? 0.5 : random.Uniform();
      damage = random.Uniform() - 0.1;
    }
    const DamageCurve curve(points);
    double last = 0;
    for (int percent = 0; percent < 120; ++percent) {
      const double damage = curve.At(percent / 100.0);
      ASSERT_TRUE(std::isfinite(damage));
      ASSERT_GE(damage, last * (1 - 1e-12));
      last = damage;
    }
  }
}

// None, six sizes (two of the third), all.
std::vector<ModuleOption> Options() {
  std::vector<ModuleOption> options = {{.parameters = 0, .error = 1, .units = 0}};
  const double errors[] = {0.8, 0.6, 0.4, 0.45, 0.3, 0.2, 0.1};
  const int64_t units[] = {1, 2, 3, 3, 4, 5, 6};
  for (size_t i = 0; i < 7; ++i) {
    options.push_back({.parameters = units[i] * 10, .error = errors[i], .units = units[i]});
  }
  options.push_back({.parameters = 90, .error = 0, .units = 9});
  return options;
}

TEST(ProbesOfTest, AreNoneAndTheLeastErrorNearAThirdAndTwoThirds) {
  EXPECT_THAT(ProbesOf(Options()), ElementsAre(0, 3, 7));
  std::vector<ModuleOption> options = Options();
  options.erase(options.begin() + 2, options.end() - 1);
  EXPECT_THAT(ProbesOf(options), ElementsAre(0, 1));
  options.erase(options.begin() + 1);
  EXPECT_THAT(ProbesOf(options), ElementsAre(0));
}

TEST(OptionDamagesTest, AreClippedAtNoneAndZeroForAll) {
  const std::vector<double> damages = OptionDamages(Options(), {{0, 0.5}, {3, 0.4}, {7, 0.1}}, 9);
  ASSERT_EQ(damages.size(), 9u);
  EXPECT_EQ(damages.front(), 0.5);
  EXPECT_NEAR(damages[3], 0.4, 1e-12);
  EXPECT_NEAR(damages[5], 0.3, 1e-12);  // exponent 1 between the probes
  EXPECT_NEAR(damages[7], 0.1, 1e-12);
  EXPECT_EQ(damages.back(), 0);
  EXPECT_LE(*std::max_element(damages.begin(), damages.end()), 0.5);
  // None is measured better than the cut: cutting on costs nothing more.
  const std::vector<double> clipped = OptionDamages(Options(), {{0, 0.2}, {3, 0.4}, {7, 0.1}}, 9);
  EXPECT_EQ(clipped[0], 0.2);
  EXPECT_EQ(clipped[1], 0.2);
  EXPECT_EQ(clipped[3], 0.2);
  EXPECT_NEAR(clipped[6], 0.2, 1e-12);
}

TEST(OptionDamagesTest, LeavesOutWhatFailed) {
  const std::vector<double> damages =
      OptionDamages(Options(), {{0, kInfinity}, {3, 0.4}, {7, 0.1}}, 9);
  EXPECT_NEAR(damages[3], 0.4, 1e-12);
  EXPECT_NEAR(damages[0], 1, 1e-12);
  EXPECT_EQ(damages.back(), 0);
  const std::vector<double> all_failed =
      OptionDamages(Options(), {{0, kInfinity}, {3, kInfinity}, {7, kInfinity}}, 9);
  EXPECT_NEAR(all_failed[0], 9, 1e-12);
  EXPECT_NEAR(all_failed[7], 0.9, 1e-12);
  EXPECT_EQ(all_failed.back(), 0);
}

}  // namespace
}  // namespace espalier::search
