#include "coordinator/jobs/sizes_report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace espalier {
namespace {

constexpr double kWidth = 640;
constexpr double kHeight = 400;
constexpr double kLeft = 64;
constexpr double kRight = 24;
constexpr double kTop = 44;
constexpr double kBottom = 48;

bool IsPerplexity(double value) { return std::isfinite(value) && value > 0; }

std::string Number(double value) {
  return std::isfinite(value) && value != 0 ? absl::StrFormat("%.6g", value) : "";
}

struct Point {
  double ratio = 0;
  double perplexity = 0;
};

struct Curve {
  const char* name;
  const char* colour;
  std::vector<Point> points;  // by falling ratio, from the dense model on
};

Curve CurveOf(const char* name, const char* colour, const ResultViews& results,
              MeasurementView ResultView::*row) {
  Curve curve{.name = name, .colour = colour, .points = {}};
  const auto add = [&curve](const MeasurementView& view) {
    if (IsPerplexity(view.perplexity)) {
      curve.points.push_back({.ratio = view.ratio, .perplexity = view.perplexity});
    }
  };
  add(results.front()->dense);
  for (const auto& result : results) add((*result).*row);
  std::sort(curve.points.begin(), curve.points.end(),
            [](const Point& a, const Point& b) { return a.ratio > b.ratio; });
  return curve;
}

// Places data on the picture.
class Frame {
 public:
  explicit Frame(const std::vector<Curve>& curves) {
    for (const Curve& curve : curves) {
      for (const Point& point : curve.points) {
        least_ratio_ = std::min(least_ratio_, point.ratio);
        low_ = std::min(low_, point.perplexity);
        high_ = std::max(high_, point.perplexity);
      }
    }
    least_ratio_ = std::max(0.0, std::floor(least_ratio_ * 10 - 1e-9) / 10);
    if (low_ > high_) low_ = high_ = 1;  // nothing to show
    low_ *= 0.9;
    high_ *= 1.1;
  }

  double X(double ratio) const {
    return kLeft + (kWidth - kLeft - kRight) * (ratio - least_ratio_) / (1 - least_ratio_);
  }
  double Y(double perplexity) const {
    return kTop +
           (kHeight - kTop - kBottom) * std::log(high_ / perplexity) / std::log(high_ / low_);
  }

  std::vector<double> RatioTicks() const {
    std::vector<double> ticks;
    const auto steps = static_cast<int>((1 - least_ratio_) / 0.1 + 1e-6);
    for (int i = 0; i <= steps; ++i) ticks.push_back(least_ratio_ + 0.1 * i);
    return ticks;
  }
  // 1, 1.5, 2, 3, 5, 7 times powers of ten.
  std::vector<double> PerplexityTicks() const {
    std::vector<double> ticks;
    const auto last = static_cast<int>(std::floor(std::log10(high_)));
    for (auto exponent = static_cast<int>(std::floor(std::log10(low_))); exponent <= last;
         ++exponent) {
      for (const double factor : {1.0, 1.5, 2.0, 3.0, 5.0, 7.0}) {
        const double tick = factor * std::pow(10, exponent);
        if (tick >= low_ && tick <= high_) ticks.push_back(tick);
      }
    }
    return ticks;
  }

 private:
  double least_ratio_ = 0.9;
  double low_ = HUGE_VAL;
  double high_ = 0;
};

std::string Text(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                         text);
}

std::string Line(double x1, double y1, double x2, double y2) {
  return absl::StrFormat(
      "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#d5d9de\"/>\n", x1, y1, x2,
      y2);
}

std::string Axes(const Frame& frame) {
  std::string svg;
  for (const double tick : frame.PerplexityTicks()) {
    absl::StrAppend(&svg, Line(kLeft, frame.Y(tick), kWidth - kRight, frame.Y(tick)),
                    Text(kLeft - 8, frame.Y(tick) + 4, "end", absl::StrFormat("%g", tick)));
  }
  for (const double tick : frame.RatioTicks()) {
    absl::StrAppend(&svg, Line(frame.X(tick), kTop, frame.X(tick), kHeight - kBottom),
                    Text(frame.X(tick), kHeight - kBottom + 18, "middle",
                         absl::StrFormat("%.0f%%", tick * 100)));
  }
  return absl::StrCat(svg, Text(kWidth / 2, kHeight - 10, "middle", "parameters kept"));
}

std::string Drawn(const Curve& curve, const Frame& frame) {
  std::string line;
  std::string dots;
  for (const Point& point : curve.points) {
    const double x = frame.X(point.ratio);
    const double y = frame.Y(point.perplexity);
    absl::StrAppendFormat(&line, "%s%.1f,%.1f", line.empty() ? "" : " ", x, y);
    absl::StrAppendFormat(&dots,
                          "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\">"
                          "<title>%s: perplexity %.2f at %.1f%%</title></circle>\n",
                          x, y, curve.colour, curve.name, point.perplexity, point.ratio * 100);
  }
  return absl::StrFormat(
      "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n%s", line,
      curve.colour, dots);
}

}  // namespace

std::string SizesCsv(const ResultViews& results) {
  const MeasurementView& dense = results.front()->dense;
  std::string csv =
      "size,parameters,ratio,initial_perplexity,searched_perplexity,perplexity,candidates,"
      "seconds\n";
  absl::StrAppend(&csv, "dense,", dense.parameters, ",1,,,", Number(dense.perplexity), ",,\n");
  for (const auto& result : results) {
    absl::StrAppend(&csv, std::filesystem::path(result->output).filename().string(), ",",
                    result->reformed.parameters, ",", Number(result->reformed.ratio), ",",
                    Number(result->initial.perplexity), ",", Number(result->searched.perplexity),
                    ",", Number(result->reformed.perplexity), ",", result->candidates, ",",
                    absl::StrFormat("%.1f", result->seconds), "\n");
  }
  return csv;
}

std::string SizesSvg(const ResultViews& results) {
  const std::vector<Curve> curves = {
      CurveOf("initial", "#9aa3ad", results, &ResultView::initial),
      CurveOf("reformed", "#2b7a4b", results, &ResultView::reformed)};
  const Frame frame(curves);
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
      "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
      kWidth, kHeight);
  absl::StrAppend(
      &svg,
      Text(kLeft, 20, "start",
           absl::StrCat("Perplexity on the ", results.front()->held_out ? "held-out" : "search",
                        " text by size")),
      Axes(frame));
  double x = kWidth - kRight;
  for (const Curve& curve : curves) {
    absl::StrAppend(
        &svg, Drawn(curve, frame),
        absl::StrFormat("<g fill=\"%s\">%s</g>\n", curve.colour, Text(x, 20, "end", curve.name)));
    x -= 80;
  }
  return absl::StrCat(svg, "</svg>\n");
}

}  // namespace espalier
