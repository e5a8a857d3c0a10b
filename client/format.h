// Numbers, times and tables as people read them. Pure.
#ifndef ESPALIER_CLIENT_FORMAT_H_
#define ESPALIER_CLIENT_FORMAT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

std::string FormatCount(int64_t value);        // 1,234,567
std::string FormatPercent(double ratio);       // 0.7 -> "70.0%"
std::string FormatPerplexity(double value);    // "12.34"; "1.23e+06"; "-" for 0, not measured
std::string FormatRate(double per_second);     // "0.25", "4.2", "1,234"; "-" for 0
std::string FormatDuration(double seconds);    // "4.2s", "1m 05s", "2h 03m"
std::string FormatBytes(int64_t bytes);        // "512 B", "1.5 GiB"; "-" for 0
std::string FormatUnixMillis(int64_t millis);  // local time "2024-05-01 12:00:05"; "-" for 0

// Columns that a terminal shows for UTF-8 `text`, taking every code point as one.
int64_t DisplayWidth(std::string_view text);
// At most `width` columns; a cut is marked by "..." where there is room for it.
std::string Truncate(std::string_view text, int64_t width);
// `text` without control characters, so that what another process says cannot move the cursor.
std::string Printable(std::string_view text);

enum class Align { kLeft, kRight };

// Rows of cells under a header, in columns as wide as their widest cell, two spaces apart.
class TextTable {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit TextTable(std::vector<Column> columns);
  // Missing cells are empty; surplus cells are dropped.
  void AddRow(std::vector<std::string> cells);
  // One line for the header and one for each row, no trailing spaces.
  std::string ToString() const;

 private:
  std::string Line(const std::vector<std::string>& cells, const std::vector<int64_t>& widths) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace espalier

#endif  // ESPALIER_CLIENT_FORMAT_H_
