#include "client/log_sink.h"

#include <string>
#include <string_view>
#include <vector>

#include "client/progress_reporter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/spdlog.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;

class NoteCollector final : public ProgressReporter {
 public:
  void OnEvent(const v1::JobEvent&) override {}
  void Note(std::string_view line) override { notes_.emplace_back(line); }
  void Finish() override {}
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  std::vector<std::string> notes_;
};

TEST(LogsThroughTest, OnlyWhatIsCriticalUnlessVerbose) {
  const auto before = spdlog::default_logger();
  NoteCollector quiet;
  {
    const LogsThrough logs(quiet, false);
    spdlog::error("job-1: no model");
    spdlog::critical("worker {} burns", 3);
  }
  EXPECT_THAT(quiet.notes(), ElementsAre(EndsWith("critical worker 3 burns")));

  NoteCollector verbose;
  {
    const LogsThrough logs(verbose, true);
    spdlog::info("attached");
  }
  EXPECT_THAT(verbose.notes(), ElementsAre(EndsWith("info attached")));
  EXPECT_EQ(spdlog::default_logger(), before);
}

}  // namespace
}  // namespace espalier
