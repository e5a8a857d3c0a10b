#include "client/format.h"

#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace espalier {
namespace {

TEST(FormatTest, CountsAreGroupedByThousands) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(134515008), "134,515,008");
  EXPECT_EQ(FormatCount(-100), "-100");
  EXPECT_EQ(FormatCount(-1234), "-1,234");
}

TEST(FormatTest, PerplexitiesStayShort) {
  EXPECT_EQ(FormatPerplexity(0), "-");
  EXPECT_EQ(FormatPerplexity(5.678), "5.68");
  EXPECT_EQ(FormatPerplexity(9732.1), "9732.10");
  EXPECT_EQ(FormatPerplexity(179844.6), "1.80e+05");
  EXPECT_EQ(FormatPerplexity(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(FormatPerplexity(std::numeric_limits<double>::quiet_NaN()), "nan");
}

TEST(FormatTest, RatesKeepTwoDigits) {
  EXPECT_EQ(FormatRate(0), "-");
  EXPECT_EQ(FormatRate(0.25), "0.25");
  EXPECT_EQ(FormatRate(4.16), "4.2");
  EXPECT_EQ(FormatRate(1234.4), "1,234");
  EXPECT_EQ(FormatRate(std::numeric_limits<double>::infinity()), "-");
}

TEST(FormatTest, DurationsChangeUnit) {
  EXPECT_EQ(FormatDuration(0), "0.0s");
  EXPECT_EQ(FormatDuration(9.94), "9.9s");
  EXPECT_EQ(FormatDuration(9.96), "10s");
  EXPECT_EQ(FormatDuration(59.6), "1m 00s");
  EXPECT_EQ(FormatDuration(65), "1m 05s");
  EXPECT_EQ(FormatDuration(3600 * 2 + 180), "2h 03m");
  EXPECT_EQ(FormatDuration(-1), "-");
}

TEST(FormatTest, BytesAreBinary) {
  EXPECT_EQ(FormatBytes(0), "-");
  EXPECT_EQ(FormatBytes(512), "512 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(int64_t{24} << 30), "24.0 GiB");
  EXPECT_EQ(FormatBytes(int64_t{3} << 50), "3072.0 TiB");
}

TEST(FormatTest, TruncationCountsCodePoints) {
  EXPECT_EQ(DisplayWidth("né"), 2);
  EXPECT_EQ(Truncate("short", 10), "short");
  EXPECT_EQ(Truncate("0123456789", 10), "0123456789");
  EXPECT_EQ(Truncate("0123456789a", 10), "0123456...");
  EXPECT_EQ(Truncate("éééééééééé", 9), "éééééé...");
  EXPECT_EQ(Truncate("éééé", 2), "éé");
  EXPECT_EQ(Truncate("abc", 0), "");
}

TEST(FormatTest, PrintableDropsControlCharacters) {
  EXPECT_EQ(Printable("a\x1b[2Jb\nc\x7f"), "a [2Jb c ");
  EXPECT_EQ(Printable("é"), "é");
}

TEST(TextTableTest, AlignsColumnsAndTrimsLines) {
  TextTable table({{"name"}, {"count", Align::kRight}, {"note"}});
  table.AddRow({"a", "1,000", "é"});
  table.AddRow({"longer", "7"});
  EXPECT_EQ(table.ToString(),
            "name    count  note\n"
            "a       1,000  é\n"
            "longer      7\n");
}

}  // namespace
}  // namespace espalier
