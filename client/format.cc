#include "client/format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace espalier {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// The first `width` code points of `text`.
std::string_view Prefix(std::string_view text, int64_t width) {
  size_t end = 0;
  for (int64_t seen = 0; end < text.size(); ++end) {
    if (!IsContinuation(text[end]) && seen++ == width) break;
  }
  return text.substr(0, end);
}

}  // namespace

std::string FormatCount(int64_t value) {
  std::string digits = absl::StrCat(value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, ",");
  }
  return digits;
}

std::string FormatPercent(double ratio) { return absl::StrFormat("%.1f%%", 100 * ratio); }

std::string FormatPerplexity(double value) {
  if (value == 0) return "-";
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : "inf";
  return value < 1e5 ? absl::StrFormat("%.2f", value) : absl::StrFormat("%.2e", value);
}

std::string FormatRate(double per_second) {
  if (!(per_second > 0) || !std::isfinite(per_second)) return "-";
  if (per_second < 1) return absl::StrFormat("%.2f", per_second);
  if (per_second < 100) return absl::StrFormat("%.1f", per_second);
  return FormatCount(std::llround(per_second));
}

std::string FormatDuration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "-";
  if (seconds < 9.95) return absl::StrFormat("%.1fs", seconds);
  const int64_t whole = std::llround(seconds);
  if (whole < 60) return absl::StrFormat("%ds", whole);
  if (whole < 3600) return absl::StrFormat("%dm %02ds", whole / 60, whole % 60);
  const int64_t minutes = whole / 60;
  return absl::StrFormat("%dh %02dm", minutes / 60, minutes % 60);
}

std::string FormatBytes(int64_t bytes) {
  if (bytes <= 0) return "-";
  if (bytes < 1024) return absl::StrFormat("%d B", bytes);
  static constexpr std::array<const char*, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string FormatUnixMillis(int64_t millis) {
  if (millis == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(millis), absl::LocalTimeZone());
}

int64_t DisplayWidth(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return !IsContinuation(c); });
}

std::string Truncate(std::string_view text, int64_t width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (width < 8) return std::string(Prefix(text, std::max<int64_t>(width, 0)));
  return std::string(Prefix(text, width - 3)) + "...";
}

std::string Printable(std::string_view text) {
  std::string clean(text);
  std::replace_if(
      clean.begin(), clean.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, ' ');
  return clean;
}

TextTable::TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

void TextTable::AddRow(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::ToString() const {
  std::vector<std::string> header;
  std::vector<int64_t> widths;
  for (const Column& column : columns_) {
    header.push_back(column.title);
    widths.push_back(DisplayWidth(column.title));
  }
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  std::string text = Line(header, widths);
  for (const auto& row : rows_) text += Line(row, widths);
  return text;
}

std::string TextTable::Line(const std::vector<std::string>& cells,
                            const std::vector<int64_t>& widths) const {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string padding(widths[i] - DisplayWidth(cells[i]), ' ');
    if (i > 0) line += "  ";
    line += columns_[i].align == Align::kLeft ? cells[i] + padding : padding + cells[i];
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

}  // namespace espalier
