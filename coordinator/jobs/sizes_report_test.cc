#include "coordinator/jobs/sizes_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ResultViews TwoResults() {
  ResultView large{.dense = {.parameters = 1000, .ratio = 1, .perplexity = 20.5},
                   .initial = {.parameters = 898, .ratio = 0.898, .perplexity = 25.25},
                   .searched = {.parameters = 899, .ratio = 0.899, .perplexity = 24},
                   .reformed = {.parameters = 899, .ratio = 0.899, .perplexity = 22},
                   .output = "/out/0.9",
                   .held_out = true,
                   .candidates = 17,
                   .seconds = 61.25};
  ResultView small = large;
  small.initial.perplexity = 90;
  small.reformed = {.parameters = 500, .ratio = 0.5, .perplexity = 60};
  small.output = "/out/0.5";
  return {std::make_shared<const ResultView>(large), std::make_shared<const ResultView>(small)};
}

TEST(SizesReportTest, TheTableHasARowForEachSize) {
  EXPECT_EQ(SizesCsv(TwoResults()),
            "size,parameters,ratio,initial_perplexity,searched_perplexity,perplexity,candidates,"
            "seconds\n"
            "dense,1000,1,,,20.5,,\n"
            "0.9,899,0.899,25.25,24,22,17,61.2\n"
            "0.5,500,0.5,90,24,60,17,61.2\n");
}

TEST(SizesReportTest, ThePictureHasEachPointAndNoOther) {
  const std::string svg = SizesSvg(TwoResults());
  EXPECT_THAT(svg, HasSubstr("<title>reformed: perplexity 60.00 at 50.0%</title>"));
  EXPECT_THAT(svg, HasSubstr("<title>initial: perplexity 25.25 at 89.8%</title>"));
  size_t points = 0;
  for (size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1)) {
    ++points;
  }
  EXPECT_EQ(points, 6);  // the dense model begins both curves
  EXPECT_THAT(svg, HasSubstr("held-out text"));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

TEST(SizesReportTest, InfinitePerplexitiesDoNotSpoilThePicture) {
  ResultViews results = TwoResults();
  ResultView broken = *results[1];
  broken.reformed.perplexity = std::numeric_limits<double>::infinity();
  broken.initial.perplexity = std::nan("");
  results[1] = std::make_shared<const ResultView>(broken);
  const std::string svg = SizesSvg(results);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_THAT(SizesCsv(results), HasSubstr("0.5,500,0.5,,24,,17,61.2\n"));
}

}  // namespace
}  // namespace espalier
