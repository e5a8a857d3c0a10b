#include "client/interrupts.h"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <future>
#include <iostream>
#include <stop_token>

#include "client/exit_codes.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

constexpr std::chrono::seconds kDeadline{30};

TEST(InterruptsTest, TheFirstSignalRunsCallbacks) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Interrupts interrupts;
    EXPECT_FALSE(interrupts.interrupted());
    std::promise<void> called;
    std::stop_callback callback(interrupts.token(), [&called] { called.set_value(); });
    ASSERT_EQ(kill(getpid(), signal), 0);
    ASSERT_EQ(called.get_future().wait_for(kDeadline), std::future_status::ready) << signal;
    EXPECT_TRUE(interrupts.interrupted());
  }
}

TEST(InterruptsTest, EndsWithoutASignal) {
  Interrupts interrupts;
  EXPECT_FALSE(interrupts.interrupted());
}

// Sends the second signal from within the callback of the first, which never returns.
void InterruptTwice() {
  Interrupts interrupts([] { std::cerr << "last words\n"; });
  std::promise<void> never;
  std::stop_callback callback(interrupts.token(), [&never] {
    kill(getpid(), SIGINT);
    never.get_future().wait();
  });
  kill(getpid(), SIGINT);
  std::promise<void> forever;
  forever.get_future().wait_for(kDeadline);
  _exit(0);
}

TEST(InterruptsDeathTest, TheSecondSignalDoesNotWaitForCallbacks) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(InterruptTwice(), ::testing::ExitedWithCode(kExitInterrupted), "last words");
}

}  // namespace
}  // namespace espalier
