#include "coordinator/search/sequence_windows.h"

#include <set>

#include "gtest/gtest.h"

namespace espalier::search {
namespace {

AllocationSpec Lengths(int64_t offspring, int64_t finalists) {
  AllocationSpec spec;
  spec.offspring_sequences = offspring;
  spec.finalist_sequences = finalists;
  return spec;
}

bool Overlap(const SequenceWindow& a, const SequenceWindow& b) {
  return a.first < b.first + b.count && b.first < a.first + a.count;
}

TEST(SequenceWindowsTest, StayInRangeAndApartAndUseAllSequences) {
  for (int64_t n = 1; n <= 40; ++n) {
    for (int64_t o = 1; o <= 5; ++o) {
      for (int64_t f = 1; f <= 6; ++f) {
        const SequenceWindows windows(n, Lengths(o, f));
        std::set<int64_t> used;
        for (int64_t round = 0; round < n; ++round) {
          const SequenceWindow offspring = windows.Offspring(round);
          const SequenceWindow finalists = windows.Finalists(round);
          for (const SequenceWindow& w : {offspring, finalists}) {
            ASSERT_GE(w.first, 0);
            ASSERT_LE(w.first + w.count, n);
            for (int64_t i = 0; i < w.count; ++i) used.insert(w.first + i);
          }
          ASSERT_EQ(offspring.count, std::min(o, n));
          ASSERT_EQ(finalists.count, std::min(f, n));
          if (o + f <= n) {
            ASSERT_FALSE(Overlap(offspring, finalists));
          }
        }
        ASSERT_EQ(std::ssize(used), n) << n << " " << o << " " << f;
      }
    }
  }
}

TEST(SequenceWindowsTest, AParentDefendsItselfOnOtherSequences) {
  const SequenceWindows windows(16, Lengths(1, 2));
  for (int64_t round = 0; round < 50; ++round) {
    EXPECT_FALSE(Overlap(windows.Finalists(round), windows.Finalists(round + 1)));
  }
  const SequenceWindows few(5, Lengths(1, 2));
  EXPECT_NE(few.Offspring(0), few.Offspring(1));
}

TEST(SequenceWindowsTest, SensitivitiesTakeTheFirstOnes) {
  AllocationSpec spec;
  spec.sensitivity_sequences = 3;
  EXPECT_EQ(SequenceWindows(5, spec).Sensitivity(), (SequenceWindow{.first = 0, .count = 3}));
  EXPECT_EQ(SequenceWindows(2, spec).Sensitivity(), (SequenceWindow{.first = 0, .count = 2}));
}

}  // namespace
}  // namespace espalier::search
