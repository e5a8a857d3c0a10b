#include "client/progress_reporter.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using std::chrono::milliseconds;
using ::testing::EndsWith;
using ::testing::HasSubstr;

class ProgressReporterTest : public ::testing::Test {
 protected:
  SteadyClock Clock() {
    return [this] { return now_; };
  }
  std::unique_ptr<ProgressReporter> Plain() {
    return MakePlainReporter(out_, Clock(), std::chrono::seconds(5));
  }
  std::unique_ptr<ProgressReporter> Terminal() {
    return MakeTerminalReporter(out_, Clock(), [] { return ViewOptions{.width = 60}; });
  }

  // An event of a running job.
  v1::JobEvent Event(v1::JobPhase phase, int64_t done, int64_t total) {
    v1::JobEvent event;
    event.set_number(++number_);
    event.set_unix_ms(unix_ms_);
    event.set_state(v1::JOB_STATE_RUNNING);
    event.mutable_progress()->set_phase(phase);
    event.mutable_progress()->set_done(done);
    event.mutable_progress()->set_total(total);
    event.mutable_progress()->set_unit("sequences");
    return event;
  }

  v1::JobEvent Final(v1::JobState state) {
    v1::JobEvent event;
    event.set_number(++number_);
    event.set_unix_ms(unix_ms_);
    event.set_state(state);
    return event;
  }

  void Advance(milliseconds time) {
    now_ += time;
    unix_ms_ += time.count();
  }

  std::string TakeOutput() {
    std::string text = out_.str();
    out_.str("");
    return text;
  }

  std::ostringstream out_;
  std::chrono::steady_clock::time_point now_{};
  int64_t unix_ms_ = 1'700'000'000'000;
  uint64_t number_ = 0;
};

TEST_F(ProgressReporterTest, PlainLinesAtPhaseChangesAndAtIntervals) {
  auto reporter = Plain();
  reporter->OnEvent(Event(v1::JOB_PHASE_CALIBRATE, 0, 8));
  EXPECT_EQ(TakeOutput(), "Calibrate: 0/8 sequences\n");
  Advance(milliseconds(4000));
  reporter->OnEvent(Event(v1::JOB_PHASE_CALIBRATE, 3, 8));
  EXPECT_EQ(TakeOutput(), "");
  Advance(milliseconds(1000));
  reporter->OnEvent(Event(v1::JOB_PHASE_CALIBRATE, 4, 8));
  EXPECT_EQ(TakeOutput(), "Calibrate: 4/8 sequences\n");
  Advance(milliseconds(2000));
  reporter->OnEvent(Event(v1::JOB_PHASE_EVALUATE, 0, 2));
  EXPECT_EQ(TakeOutput(),
            "Calibrate  done in 7.0s  8 sequences\n"
            "Evaluate: 0/2 sequences\n");
  Advance(milliseconds(1500));
  reporter->OnEvent(Final(v1::JOB_STATE_SUCCEEDED));
  EXPECT_EQ(TakeOutput(), "Evaluate   done in 1.5s  2 sequences\n");
}

TEST_F(ProgressReporterTest, PlainTellsAtOnceWhatTheJobWaitsFor) {
  auto reporter = Plain();
  v1::JobEvent event = Event(v1::JOB_PHASE_LOAD, 0, 0);
  reporter->OnEvent(event);
  TakeOutput();
  event.mutable_progress()->set_waiting_for("a worker to attach");
  reporter->OnEvent(event);
  EXPECT_EQ(TakeOutput(), "Load: waiting for a worker to attach\n");
  reporter->OnEvent(event);
  EXPECT_EQ(TakeOutput(), "");
  reporter->OnEvent(Event(v1::JOB_PHASE_LOAD, 0, 0));
  EXPECT_EQ(TakeOutput(), "Load\n");
}

TEST_F(ProgressReporterTest, AFailedJobsPhaseIsStopped) {
  auto reporter = Plain();
  reporter->OnEvent(Event(v1::JOB_PHASE_SEARCH, 3, 10));
  Advance(milliseconds(2000));
  reporter->OnEvent(Final(v1::JOB_STATE_FAILED));
  EXPECT_THAT(TakeOutput(), EndsWith("Search     stopped after 2.0s  3/10 sequences\n"));
}

TEST_F(ProgressReporterTest, TerminalRedrawsAtMostTenTimesASecond) {
  auto reporter = Terminal();
  for (int i = 0; i <= 1000; ++i) {
    reporter->OnEvent(Event(v1::JOB_PHASE_SEARCH, i, 2000));
    Advance(milliseconds(1));
  }
  const std::string text = TakeOutput();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 11);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 0);
}

TEST_F(ProgressReporterTest, TerminalKeepsAFinishedPhaseAsALine) {
  auto reporter = Terminal();
  reporter->OnEvent(Event(v1::JOB_PHASE_CALIBRATE, 8, 8));
  TakeOutput();
  Advance(milliseconds(1000));
  reporter->OnEvent(Event(v1::JOB_PHASE_SEARCH, 0, 10));
  EXPECT_EQ(TakeOutput(),
            "\r\x1b[KCalibrate  done in 1.0s  8 sequences\n"
            "\rSearch     [                          ]   0%  0/10 sequences\x1b[K");
  reporter->OnEvent(Final(v1::JOB_STATE_CANCELLED));
  EXPECT_THAT(TakeOutput(), EndsWith("Search     stopped after 0.0s  0/10 sequences\n"));
  reporter->Finish();
  EXPECT_EQ(TakeOutput(), "");
}

TEST_F(ProgressReporterTest, TerminalNotesStandAboveTheLiveLine) {
  auto reporter = Terminal();
  reporter->OnEvent(Event(v1::JOB_PHASE_SEARCH, 5, 10));
  const std::string live = TakeOutput();
  reporter->Note("worker lost");
  EXPECT_EQ(TakeOutput(), "\r\x1b[Kworker lost\n" + live);
  reporter->Finish();
  EXPECT_EQ(TakeOutput(), "\r\x1b[K");
}

TEST_F(ProgressReporterTest, EventMessagesAreShownWithoutControlCharacters) {
  auto reporter = Plain();
  v1::JobEvent event = Event(v1::JOB_PHASE_LOAD, 0, 0);
  event.set_message("worker w1\x1b[2J attached");
  reporter->OnEvent(event);
  EXPECT_THAT(TakeOutput(), HasSubstr("worker w1 [2J attached\n"));
}

TEST_F(ProgressReporterTest, GenerationsAreNotToldTwice) {
  auto reporter = Terminal();
  v1::JobEvent event = Event(v1::JOB_PHASE_SEARCH, 5, 10);
  reporter->OnEvent(event);
  TakeOutput();
  event.set_message("generation 3: best perplexity 11.3653 at ratio 0.6983");
  reporter->OnEvent(event);
  EXPECT_EQ(TakeOutput(), "");
  event.set_message("worker-2 was lost");
  reporter->OnEvent(event);
  EXPECT_THAT(TakeOutput(), HasSubstr("worker-2 was lost\n"));
}

TEST_F(ProgressReporterTest, QuietShowsNothing) {
  auto reporter = MakeQuietReporter();
  reporter->OnEvent(Event(v1::JOB_PHASE_LOAD, 0, 0));
  reporter->Finish();
  EXPECT_EQ(TakeOutput(), "");
}

}  // namespace
}  // namespace espalier
