#include "client/progress_view.h"

#include <string>

#include "client/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

v1::Progress Search() {
  v1::Progress progress;
  progress.set_phase(v1::JOB_PHASE_SEARCH);
  progress.set_done(2600);
  progress.set_total(5000);
  progress.set_unit("candidates");
  progress.set_units_per_second(41.23);
  progress.set_eta_seconds(58.2);
  progress.set_best_perplexity(35.213);
  progress.set_ratio(0.6987);
  progress.set_generation(26);
  return progress;
}

TEST(RenderBarTest, FillsInProportion) {
  EXPECT_EQ(RenderBar(0, 12), "[          ]");
  EXPECT_EQ(RenderBar(0.5, 12), "[====>     ]");
  EXPECT_EQ(RenderBar(1, 12), "[==========]");
  EXPECT_EQ(RenderBar(1.7, 5), "[===]");
}

TEST(RenderProgressLineTest, ShowsEverythingWhenThereIsRoom) {
  EXPECT_EQ(RenderProgressLine(Search(), {.width = 140}),
            "Search     [===================>                  ]  52%  2,600/5,000 candidates  "
            "ETA 58s  best ppl 35.21 at 69.9%  41.2/s  generation 26");
}

TEST(RenderProgressLineTest, DropsFieldsFromTheRight) {
  EXPECT_EQ(RenderProgressLine(Search(), {.width = 80}),
            "Search     [===>    ]  52%  2,600/5,000 candidates  ETA 58s");
}

TEST(RenderProgressLineTest, NeverExceedsTheWidth) {
  v1::Progress progress = Search();
  for (int width = 1; width < 200; ++width) {
    EXPECT_LE(DisplayWidth(RenderProgressLine(progress, {.width = width})), width);
  }
  progress.set_waiting_for("a worker with 24 GiB of memory to attach to this coordinator");
  for (int width = 1; width < 200; ++width) {
    EXPECT_LE(DisplayWidth(RenderProgressLine(progress, {.width = width})), width);
  }
}

TEST(RenderProgressLineTest, WaitingReplacesRateAndEta) {
  v1::Progress progress = Search();
  progress.set_waiting_for("a worker to attach");
  const std::string line = RenderProgressLine(progress, {.width = 140});
  EXPECT_THAT(line, HasSubstr("waiting for a worker to attach"));
  EXPECT_THAT(line, Not(HasSubstr("ETA")));
}

TEST(RenderProgressLineTest, NoBarWithoutATotal) {
  v1::Progress progress;
  progress.set_phase(v1::JOB_PHASE_LOAD);
  EXPECT_EQ(RenderProgressLine(progress, {}), "Load       ");
  EXPECT_THAT(RenderProgressLine(v1::Progress(), {}), StartsWith("Queued"));
}

TEST(RenderProgressLineTest, AHundredPercentOnlyWhenAllIsDone) {
  v1::Progress progress = Search();
  progress.set_done(4999);
  EXPECT_THAT(RenderProgressLine(progress, {.width = 100}), HasSubstr("99%"));
  progress.set_done(5000);
  EXPECT_THAT(RenderProgressLine(progress, {.width = 100}), HasSubstr("100%"));
}

TEST(RenderProgressLineTest, ColourOnlyWhenAsked) {
  EXPECT_THAT(RenderProgressLine(Search(), {.colour = false}), Not(HasSubstr("\x1b")));
  EXPECT_THAT(RenderProgressLine(Search(), {.colour = true}), StartsWith("\x1b[1mSearch"));
}

TEST(RenderProgressLineTest, ControlCharactersCannotLeaveTheLine) {
  v1::Progress progress = Search();
  progress.set_unit("cand\nidates\x1b[2J");
  const std::string line = RenderProgressLine(progress, {.width = 140});
  EXPECT_THAT(line, Not(HasSubstr("\n")));
  EXPECT_THAT(line, Not(HasSubstr("\x1b")));
}

TEST(RenderFinishedPhaseTest, KeepsTimeUnitsAndBest) {
  v1::Progress last = Search();
  EXPECT_EQ(RenderFinishedPhase(last, 125, PhaseOutcome::kDone, {}),
            "Search     done in 2m 05s  5,000 candidates  best ppl 35.21 at 69.9%");
  EXPECT_EQ(RenderFinishedPhase(last, 3, PhaseOutcome::kStopped, {}),
            "Search     stopped after 3.0s  2,600/5,000 candidates  best ppl 35.21 at 69.9%");
  EXPECT_EQ(RenderFinishedPhase(last, 125, PhaseOutcome::kDone, {.width = 30}),
            "Search     done in 2m 05s");
}

TEST(RenderPlainLineTest, IsOneSentence) {
  EXPECT_EQ(RenderPlainLine(Search()),
            "Search: 2,600/5,000 candidates, ETA 58s, best ppl 35.21 at 69.9%, 41.2/s, "
            "generation 26");
  v1::Progress load;
  load.set_phase(v1::JOB_PHASE_LOAD);
  EXPECT_EQ(RenderPlainLine(load), "Load");
  load.set_waiting_for("a worker to attach");
  EXPECT_EQ(RenderPlainLine(load), "Load: waiting for a worker to attach");
}

TEST(UnitsTest, PercentagesAreShownOnce) {
  v1::Progress load;
  load.set_phase(v1::JOB_PHASE_LOAD);
  load.set_done(45);
  load.set_total(100);
  load.set_unit("percent");
  EXPECT_EQ(RenderPlainLine(load), "Load: 45%");
  EXPECT_EQ(RenderProgressLine(load, {.width = 40}), "Load       [========>           ]  45%  ");
  EXPECT_EQ(RenderFinishedPhase(load, 1, PhaseOutcome::kDone, {}), "Load       done in 1.0s");
  EXPECT_EQ(RenderFinishedPhase(load, 1, PhaseOutcome::kStopped, {}),
            "Load       stopped after 1.0s  45%");
}

TEST(UnitsTest, OneIsSingular) {
  v1::Progress initialize;
  initialize.set_phase(v1::JOB_PHASE_INITIALIZE);
  initialize.set_total(1);
  initialize.set_unit("candidates");
  EXPECT_EQ(RenderFinishedPhase(initialize, 1, PhaseOutcome::kDone, {}),
            "Initialize done in 1.0s  1 candidate");
}

TEST(NamesTest, EveryPhaseAndStateHasOne) {
  for (int phase = v1::JOB_PHASE_LOAD; phase <= v1::JobPhase_MAX; ++phase) {
    EXPECT_NE(PhaseTitle(static_cast<v1::JobPhase>(phase)), "") << phase;
  }
  for (int state = v1::JOB_STATE_QUEUED; state <= v1::JobState_MAX; ++state) {
    EXPECT_NE(StateName(static_cast<v1::JobState>(state)), "unknown") << state;
  }
  EXPECT_FALSE(IsFinal(v1::JOB_STATE_RUNNING));
  EXPECT_TRUE(IsFinal(v1::JOB_STATE_CANCELLED));
}

}  // namespace
}  // namespace espalier
